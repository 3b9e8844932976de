// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"errors"
	"testing"
	"time"
)

func TestJournal(t *testing.T) {
	at := time.Date(2026, 1, 2, 14, 2, 11, 0, time.UTC)
	for verbose, want := range map[bool]string{
		false: "14:02:11 one\n14:02:11 part: told k=v\n14:02:11 problem: part.sub: failed: why a=\"b c\" d=\"\"\n",
		true: "14:02:11 one\n14:02:11 part: told k=v\n14:02:11 part: detail n=1\n" +
			"14:02:11 problem: part.sub: failed: why a=\"b c\" d=\"\"\n",
	} {
		log := new(lines)
		j := &journal{w: log, now: func() time.Time { return at }, verbose: verbose}
		j.line("%s", "one")
		l := j.logger("part")
		l.Info("told", "k", "v")
		l.V(1).Info("detail", "n", 1)
		l.WithName("sub").WithValues("a", "b c").Error(errors.New("why"), "failed", "d", "")
		if got := log.String(); got != want {
			t.Errorf("verbose %t:\n%swant\n%s", verbose, got, want)
		}
	}
}
