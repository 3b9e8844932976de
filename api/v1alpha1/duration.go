// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"
	"regexp"
	"time"
)

// Duration is a length of time as GEP-2257 writes it: one to four numbers, each with a unit, h, m, s or ms. Examples:
// 300ms, 10s, 1h30m. There are no fractions, no signs and nothing finer than a millisecond. It is kept as the user wrote it.
//
// +kubebuilder:validation:Pattern="^([0-9]{1,5}(h|m|s|ms)){1,4}$"
// +kubebuilder:validation:MaxLength=28
type Duration string

var durationPattern = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

// Parse returns the length of time that d says. It accepts exactly what the schema's pattern accepts; the bounds of a
// field are the schema's business.
func (d Duration) Parse() (time.Duration, error) {
	if !durationPattern.MatchString(string(d)) {
		return 0, fmt.Errorf("%q is not a duration: write whole numbers with the unit h, m, s or ms, such as 300ms or 1m30s", string(d))
	}
	parsed, err := time.ParseDuration(string(d))
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: %w", string(d), err)
	}
	return parsed, nil
}
