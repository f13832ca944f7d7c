package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/join"
	"tongban/replication"
)

func newNode(a *app) *cobra.Command {
	list := a.addJSON(a.addDir(&cobra.Command{
		Use:     "list",
		Short:   "List the nodes of the division",
		Example: "  tongban node list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var peers []join.Peer
				if err := c.Get(cmd.Context(), "/node/list", &peers); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(peers)
				}
				t := table{head: []string{"NODE", "NODE PORT", "WEB"}}
				for _, p := range peers {
					t.add(string(p.ID), p.Address, p.Web)
				}
				t.print(a.out)
				return nil
			})
		},
	}))
	remove := a.addDir(&cobra.Command{
		Use:   "remove NODE",
		Short: "Take a node out of the division for good",
		Long: `Takes a node out: its replicas are removed, its certificate is refused from now on,
and its name is not used again. A box that comes back joins with a new token and name.`,
		Example: "  tongban node remove n3",
		Args:    exactArgs("the node"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				if err := c.Post(cmd.Context(), "/node/remove", node.RemoveRequest{Node: replication.NodeID(args[0])}, nil); err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%s is no longer a node of this division.\n", args[0])
				return nil
			})
		},
	})
	return group("node", "List and remove the nodes of the division", list, remove)
}
