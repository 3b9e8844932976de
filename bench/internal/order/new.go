// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package order

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
)

// Bytes is how long a message is when it is encoded.
const Bytes = 581

// noteBytes fills a message up to Bytes.
const noteBytes = 222

var note = strings.Repeat("leave it with the neighbour; ", 1+noteBytes/29)[:noteBytes] // constant

// New makes a message of Bytes bytes.
func New() *Order {
	return &Order{
		Stamp:         1,
		Id:            "8f3b6c1e-52a7-4c0d-9d0e-6b1f7a2c4e58",
		Tenant:        "northern-markets",
		Customer:      "customer/00000000000000482190",
		Street:        "Lower Harbour Road 118, second yard, staircase C",
		City:          "Kristiansund on the Sea",
		Country:       "Norway",
		Agent:         "storefront/4.18.2 (checkout; web) request-signer/1.7",
		Coupon:        proto.String("SPRING-2026-FREE-SHIPPING-OVER-40"),
		Note:          proto.String(note),
		CreatedNanos:  1_774_000_000_123_456_789,
		TraceLow:      0x9e3779b97f4a7c15,
		TraceHigh:     proto.Uint64(0xc2b2ae3d27d4eb4f),
		AmountMinor:   1_249_900,
		TaxMinor:      249_980,
		ShippingMinor: 4_900,
		DiscountMinor: proto.Int64(125_000),
		RefundMinor:   proto.Int64(0),
		Lines:         7,
		Quantity:      23,
		WeightGrams:   18_450,
		Warehouse:     1_042,
		Attempt:       1,
		Priority:      proto.Int32(3),
		Partner:       proto.Int32(70_113),
		Gift:          true,
		Express:       true,
		Paid:          true,
		Insured:       proto.Bool(true),
		Trial:         proto.Bool(false),
	}
}

// Check looks cheaply whether reply is an echo of sent; thorough is for some of
// the calls, as it costs more than many a call.
func Check(sent, reply *Order, thorough bool) error {
	switch {
	case reply == nil:
		return errors.New("order: there is no reply")
	case reply.Stamp != sent.Stamp:
		return fmt.Errorf("order: the reply's stamp is %d, not %d", reply.Stamp, sent.Stamp)
	case len(reply.GetNote()) != noteBytes || reply.Partner == nil || *reply.Partner != *sent.Partner:
		return errors.New("order: the reply lacks fields")
	case thorough && !proto.Equal(sent, reply):
		return errors.New("order: the reply is not what was sent")
	}
	return nil
}
