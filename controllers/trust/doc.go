// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package trust gives the registry's certificates, and says which authorities
// clients are to believe: the bundle.
//
// It does not serve, and it does not bring the bundle to clients: package bundle
// does by ConfigMaps, and the registry's stream does by itself.
//
// There are two ways. Managed has an authority of its own in a Secret, which the
// operator makes and not Helm, so that it outlives an uninstall. Files has what
// somebody else, such as cert-manager, keeps in a folder.
//
// Main flow of Managed: every replica watches the Secret and signs a certificate
// for itself, whose key stays in memory, with the authority that it finds there;
// again when a third of its life is over, or another authority signs. The holder
// of the Lease decides, by a pure function, whether the authority has to be
// replaced: first a new one is believed beside the old one; when that has spread,
// the new one signs and the old one is still believed; when no certificate of the
// old one can be left, it is forgotten.
//
// Concurrency: GetCertificate, Bundle and Ready may be called from any goroutine;
// Start is called once. Changed is called by Start's goroutine.
//
// Invariants:
//  1. What signs has been believed for at least the settling time, unless it is
//     the first.
//  2. A Secret is replaced only by whoever read it as it is (resourceVersion), and
//     by the holder of the Lease.
//  3. What was read once is kept: without the API server certificates go on being
//     renewed. A Secret that is deleted is written again as it was.
//  4. No key is logged, or part of an error.
//
// Errors: what cannot be read or written is logged, counted and tried again; what
// is held stays in use.
//
// Units and zero values: see the fields of Config.
package trust
