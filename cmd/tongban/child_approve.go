package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/federation"
	"tongban/node"
	"tongban/node/client"
	"tongban/node/exit"
)

func newChildApprove(a *app) *cobra.Command {
	return a.newChildJudge("approve", "Let in divisions that wait for approval", `Lets in the divisions that came with a token and wait; see "tongban child list". Before,
ask each on another way, such as the telephone, for the key that it was shown, and compare.
An approved division goes on by itself, or by repeating its command.`, "can be approved", "is approved; it goes on by itself, or by repeating its command")
}

func newChildRefuse(a *app) *cobra.Command {
	return a.newChildJudge("refuse", "Turn away divisions that wait for approval", `Turns away divisions that came with a token and wait. The token is good for nobody any
more; to let the right one in, make another.`, "can be refused", "is refused, and its token is void")
}

func (a *app) newChildJudge(verb, short, long, would, done string) *cobra.Command {
	var in node.ChildApproval
	cmd := &cobra.Command{
		Use:     verb + " CHILD... | --all",
		Short:   short,
		Long:    long,
		Example: "  tongban child " + verb + " county/511602\n  tongban child " + verb + " 511602 --key \"3f2a 91bc\"\n  tongban child " + verb + " --all --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch in.Children = args; {
			case len(args) == 0 && !in.All:
				return exit.Usagef("say which children (code, or level/code): tongban child %s CHILD..., or --all", verb)
			case len(args) > 0 && in.All:
				return exit.Usagef("say either the children or --all")
			}
			return a.with(func(c *client.Client) error {
				var out node.ChildApproved
				if err := c.Post(cmd.Context(), "/node/child/"+verb, in, &out); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(out)
				}
				if len(out.Children) == 0 {
					fmt.Fprintln(a.out, "No division waits for approval.")
				}
				said := done
				if out.DryRun {
					said = would
				}
				for _, w := range out.Children {
					fmt.Fprintf(a.out, "%s (%s), key %s, %s.\n", clean(w.Name), w.Ref, clean(w.Key), said)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&in.All, "all", false, "all that wait")
	cmd.Flags().StringVar(&in.Key, "key", "", "the key that the child was shown, or how it begins; needed when two wait in one name")
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "show who is meant, change nothing")
	return a.addJSON(a.addDir(cmd))
}

func newChildPolicy(a *app) *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:   "policy [automatic|approve]",
		Short: "Show or set whether divisions are approved before they are let in",
		Long: `With "automatic", whoever has a token is let in. With "approve", a division that comes with
a token waits until somebody runs "tongban child approve": let that be another
administrator than the one who made the token, so that a token that was stolen is not
enough. A child that enrols again with the authority that it had needs no approval.`,
		Example: "  tongban child policy approve",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var p node.ChildPolicy
				if len(args) > 0 {
					p.Approval = federation.Approval(args[0])
					if err := c.Post(cmd.Context(), "/node/child/policy", p, &p); err != nil {
						return err
					}
				} else {
					var list node.ChildList
					if err := c.Get(cmd.Context(), "/node/child", &list); err != nil {
						return err
					}
					p.Approval = list.Approval
				}
				if a.asJSON {
					return a.printJSON(p)
				}
				fmt.Fprintln(a.out, map[federation.Approval]string{
					federation.Automatic: "automatic: whoever has a token is let in",
					federation.ByAdmin:   "approve: whoever has a token waits for `tongban child approve`",
				}[p.Approval])
				return nil
			})
		},
	}))
}

// printWaiting lists who waits for approval.
func (a *app) printWaiting(list []node.ChildWaiting) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(a.out, "\nThese wait for approval. Ask each for the key that it was shown, compare, then run `tongban child approve CHILD`:")
	t := table{head: []string{"CHILD", "NAME", "SINCE", "KEY", ""}}
	for _, w := range list {
		t.add(w.Ref.String(), clean(w.Name), localTime(w.Since), clean(w.Key), map[bool]string{true: "replaces"}[w.Replace])
	}
	t.print(a.out)
}
