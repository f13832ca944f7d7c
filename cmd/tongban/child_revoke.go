package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/node"
	"tongban/node/client"
)

func newChildRevoke(a *app) *cobra.Command {
	var in node.ChildRevokeRequest
	cmd := &cobra.Command{
		Use:   "revoke CHILD",
		Short: "Have a child leave for good",
		Long: `Ends a child for good: its lines are closed at once, its tokens are void, and all divisions
are told, before anything else, to believe no letter of it or of what is below it any more.
Its figures and offers stay, marked as left, with their age. To keep it out for a while
only, use "tongban child hold". A new token enrols it again.`,
		Example: "  tongban child revoke county/511602 --dry-run",
		Args:    exactArgs("the child (its code, or level/code)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Child = args[0]
			return a.with(func(c *client.Client) error {
				var reply node.ChildRevokeReply
				if err := c.Post(cmd.Context(), "/node/child/revoke", in, &reply); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(reply)
				}
				a.printRevoked(reply)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "say whom it concerns, and change nothing")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) printRevoked(r node.ChildRevokeReply) {
	verb := "has left"
	if r.DryRun {
		verb = "would leave"
	}
	fmt.Fprintf(a.out, "%s (%s) %s.\n", clean(r.Name), r.Ref, verb)
	if r.Below > 0 {
		fmt.Fprintf(a.out, "Divisions below it, which leave with it: %d\n", r.Below)
	}
	if r.Confirmed != nil {
		fmt.Fprintf(a.out, "Its figures stay, as of %s.\n", localTime(*r.Confirmed))
	}
}

func (a *app) printFormer(list []node.FormerChild) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(a.out, "\nDivisions that have left:")
	t := table{head: []string{"DIVISION", "NAME", "LEFT", "AS OF"}}
	for _, c := range list {
		asOf := "never"
		if c.Confirmed != nil {
			asOf = localTime(*c.Confirmed)
		}
		t.add(c.Ref.String(), clean(c.Name), localTime(c.Left), asOf)
	}
	t.print(a.out)
}
