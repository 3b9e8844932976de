// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import "github.com/fairlead/fairlead/rpcruntime/wire"

// What each side can do, as it says. docs/wire-protocol.md §7
var ( // constants
	callerFeatures     = []string{wire.FeatureDrain, wire.FeatureCancel, wire.FeatureWindow, wire.FeatureLoad}
	calleeFeatures     = []string{wire.FeatureDrain, wire.FeatureCancel, wire.FeatureWindow}
	calleeFeaturesLoad = []string{wire.FeatureDrain, wire.FeatureCancel, wire.FeatureWindow, wire.FeatureLoad}
)

func (c *serverRole) features() []string {
	if c.cfg.Load == nil {
		return calleeFeatures
	}
	return calleeFeaturesLoad
}
