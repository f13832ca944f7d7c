package verdict

import (
	"maps"
	"slices"
)

// Transfer moves money from an account of the first table to one of the second, or back.
type Transfer struct {
	Span
	ID     string `json:"id"`
	From   string `json:"from"`
	To     string `json:"to"`
	Amount int64  `json:"amount"`
	Paid   bool   `json:"paid"` // Done: the account had enough.
}

// Balance is one reading of all accounts.
type Balance struct {
	Span
	Level string `json:"level"`
	Sum   int64  `json:"sum"`
}

// Booked is a transfer as a replica has recorded it.
type Booked struct {
	From, To string
	Amount   int64
	Paid     bool
}

// Accounts is what a replica holds in the end.
type Accounts struct {
	Balances map[string]int64
	Booked   map[string]Booked // By the transfer's id.
}

// Bank checks that every reading had the constant sum, and that each replica's balances
// are what its booked transfers make of initial, never below zero, with the results that
// the clients were told.
func Bank(initial map[string]int64, transfers []Transfer, readings []Balance, replicas map[string]Accounts) []string {
	var sum int64
	for _, n := range initial {
		sum += n
	}
	var torn, wrong, told findings
	for _, r := range readings {
		if r.Outcome == Done && r.Sum != sum {
			torn.add("bank: a reading at level %s had %d instead of %d (%s)", r.Level, r.Sum, sum, r.Span)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(replicas)) {
		held := replicas[node]
		want := maps.Clone(initial)
		for _, b := range held.Booked {
			if b.Paid {
				want[b.From] -= b.Amount
				want[b.To] += b.Amount
			}
		}
		for account, n := range want {
			if held.Balances[account] != n || n < 0 {
				wrong.add("bank: account %s of %s holds %d; its transfers make it %d", account, node, held.Balances[account], n)
			}
		}
		for _, t := range transfers {
			b, ok := held.Booked[t.ID]
			if t.Outcome == Done && ok && b != (Booked{t.From, t.To, t.Amount, t.Paid}) {
				told.add("bank: %s has booked %+v for transfer %s, whose client was told paid=%v", node, b, t.ID, t.Paid)
			}
		}
	}
	return slices.Concat(torn.words(), wrong.words(), told.words())
}
