// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command figures measures what package micro can, and prints it:
//
//	go -C bench run ./internal/micro/figures
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/fairlead/fairlead/bench/internal/micro"
)

func main() {
	child := flag.String("child", "", "for the program itself: what this process is")
	quick := flag.Bool("quick", false, "fewer rounds and fewer idle connections")
	flag.Parse()
	if err := run(context.Background(), *child, *quick); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, child string, quick bool) error {
	if child != "" {
		return micro.Child(ctx, child, os.Stdin, os.Stdout)
	}
	values, err := micro.Measure(ctx, quick)
	for _, v := range values {
		fmt.Fprintf(os.Stdout, "%s: %.2f %s, rounds %.2f\n", v.Name, v.Value, v.Unit, v.Rounds)
	}
	return err
}
