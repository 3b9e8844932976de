// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package house holds the rules of this repository as tests: which package may
// import which, where goroutines may start, what stays pure, what a file
// begins with.
//
// It checks structure only. Style is golangci-lint's, behaviour is for the
// tests of each package.
//
// A rule is a function from the parsed tree to its breaches. TestHouse runs
// every rule over this repository; TestRulesBite plants a breach of each rule
// in a small tree and wants it found, so that no rule goes blind unnoticed.
// To change a rule, change it here, in ARCHITECTURE.md and in .golangci.yml.
//
// Files are read from disk whatever their build constraints say; only what is
// reached through other modules is asked of the go command.
package house
