package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tongban/federation"
	"tongban/node"
	"tongban/node/client"
	"tongban/node/exit"
)

func newQueue(a *app) *cobra.Command {
	return group("queue", "See what waits in this division, and try again what is stuck",
		newQueueList(a), newQueueShow(a), newQueueRedrive(a))
}

func newQueueList(a *app) *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:   "list",
		Short: "List the queues: how much waits, and since when",
		Long: `Lists the queues in which something waits: rows for the parent (up) and the children
(down), rows of them that could not be taken (parked) or need a newer program (newer),
mails of departments (mail), and rows of departments on their way into the division's
database (home). While a line is cut its queues grow, and empty by themselves when it is
back. With --json all queues, and what the inboxes keep.`,
		Example: "  tongban queue list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var list node.QueueList
				if err := c.Get(cmd.Context(), "/node/queue", &list); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(list)
				}
				a.printQueues(list.Queues)
				return nil
			})
		},
	}))
}

func (a *app) printQueues(queues []federation.Queue) {
	t := table{head: []string{"QUEUE", "OF", "NAME", "WAIT", "OLDEST", "STUCK", "SENT BACK"}}
	kept := 0
	for _, q := range queues {
		stuck := q.Stopped
		switch {
		case q.Kind == federation.QueueInbox:
			kept += q.Size
			continue
		case q.Size+q.Refused == 0:
			continue
		case q.Kind == federation.QueueParked:
			stuck = q.Size
		}
		age := "-"
		if q.Age != nil {
			age = ago(time.Duration(*q.Age) * time.Second)
		}
		t.add(q.Kind, clean(q.Of), clean(q.Name), fmt.Sprint(q.Size), age, fmt.Sprint(stuck), fmt.Sprint(q.Refused))
	}
	if len(t.rows) == 0 {
		fmt.Fprintln(a.out, "Nothing waits.")
	} else {
		t.print(a.out)
	}
	fmt.Fprintf(a.out, "The inboxes keep %d mails that were received, so that none is received twice.\n", kept)
}

func newQueueShow(a *app) *cobra.Command {
	var refused bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show what does not get on by itself, with the reason",
		Long: `Shows the dead letters: rows of neighbours that could not be taken (parked), and mails
that the other side cannot take (stopped). Both are tried again by themselves now and then,
and at once by "tongban queue redrive". With --refused also the mails that were sent back:
of these one is offered again only by its name.`,
		Example: "  tongban queue show --refused",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				path := "/node/queue/dead"
				if refused {
					path += "?refused=1"
				}
				var list node.DeadList
				if err := c.Get(cmd.Context(), path, &list); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(list)
				}
				a.printDead(list.Dead)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&refused, "refused", false, "with the mails that were sent back")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) printDead(dead []federation.DeadLetter) {
	if len(dead) == 0 {
		fmt.Fprintln(a.out, "There is nothing that does not get on by itself.")
		return
	}
	t := table{head: []string{"DEAD LETTER", "STATE", "AGE", "WHAT", "FOR", "REASON"}}
	for _, d := range dead {
		what, to := d.Kind, d.What
		if d.State == federation.DeadParked {
			what, to = d.Kind+" of "+d.Of, d.What
		}
		t.add(clean(d.ID), d.State, ago(time.Duration(d.Age)*time.Second), clean(what), clean(to), clean(deadReason(d)))
	}
	t.print(a.out)
}

// deadReason says why a dead letter is one.
func deadReason(d federation.DeadLetter) string {
	text := map[string]string{
		"federation.mail.failed":  "could not be taken there; see the log of the boxes there",
		"federation.mail.altered": "what arrived there is not what was signed here",
		"federation.mail.loop":    "there is no way to it",
		"federation.mail.newer":   "the program there is older and does not know such mail",
		"federation.mail.here":    "it was received, and the receipt could not be entered here; see the log here",
	}
	reason := cmp.Or(text[d.Reason], d.Reason)
	if d.Where != "" {
		reason = d.Where + ": " + reason
	}
	return reason
}

func newQueueRedrive(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "redrive [DEAD-LETTER…]",
		Short: "Try dead letters again",
		Long: `Folds parked rows again, and sends stopped mails again, after what stood in their way was
mended. A mail that was sent back is offered to its receiver anew, under the same number: it
is received at most once. With --all everything but the mails that were sent back. Each is
entered in the audit.`,
		Example: "  tongban queue redrive --all\n  tongban queue redrive mail/civil-affairs/12",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return exit.Usagef("say which dead letters (`tongban queue show` lists them), or --all of them")
			}
			return a.with(func(c *client.Client) error {
				var done federation.Redriven
				if err := c.Post(cmd.Context(), "/node/queue/redrive", node.RedriveRequest{IDs: args, All: all}, &done); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(done)
				}
				a.printRedriven(done)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all but the mails that were sent back")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) printRedriven(done federation.Redriven) {
	fmt.Fprintf(a.out, "%d rows were taken, %d mails are on their way again, %d rows could still not be taken.\n", done.Rows, done.Mails, len(done.Still))
	for _, d := range done.Still {
		fmt.Fprintf(a.out, "%s (%s of %s): %s\n", clean(d.ID), clean(d.Kind), clean(d.Of), clean(d.Reason))
	}
	if len(done.Unknown) > 0 {
		fmt.Fprintf(a.out, "No dead letters any more: %s\n", clean(strings.Join(done.Unknown, ", ")))
	}
}
