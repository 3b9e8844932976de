// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package registry runs the publisher and the endpoint over one store.
//
// It decides nothing but when they start: a store needs to know which history
// its revisions belong to, its epoch, and that has to be asked of the API
// server. Until it answers nothing is served, not even refusals.
//
// Concurrency: Controller.Start is called once, and waits for its goroutines.
//
// Errors: an API server that does not answer is asked again, for ever.
package registry
