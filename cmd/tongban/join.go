package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tongban/node"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/replication"
)

func newJoin(a *app) *cobra.Command {
	var o node.JoinOptions
	var id string
	cmd := &cobra.Command{
		Use:   "join TOKEN --dir DIR",
		Short: "Make this box a further node of a division",
		Long: `Asks a node of the division, with a token made by "tongban token", for what this box
needs to be a node: certificate, peers, gossip key. TOKEN "-" is read from standard input,
so that it does not appear in the list of processes. A join that failed can be repeated
with a new token.`,
		Example: `  tongban join - --dir /srv/tongban --web 192.0.2.11:443 --listen 192.0.2.11:7301 --gossip 192.0.2.11:7302 < token`,
		Args:    exactArgs("the token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Dir == "" {
				return exit.Usagef("say where the node is to be: tongban join TOKEN --dir DIR")
			}
			o.Token, o.Node = args[0], replication.NodeID(id)
			if o.Token == "-" {
				text, err := io.ReadAll(io.LimitReader(a.in, 4096))
				if err != nil {
					return fmt.Errorf("read the token: %w", err)
				}
				o.Token = string(text)
			}
			if token, err := join.ParseToken(o.Token); err == nil {
				fmt.Fprintf(a.err, "Joining the division with the fingerprint %s…\n", fingerprint(token.Fingerprint))
			}
			cfg, err := node.Join(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "This box is node %s of division %s (%s), in %s.\nStart it:  %s\n",
				cfg.Node, cfg.Division.Code, cfg.Division.Level, cfg.Dir(), runCommand(cfg))
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "folder to make")
	cmd.Flags().StringVar(&id, "node", "", "name of the node (default: the next free one, n2 and so on)")
	addAddresses(cmd, &o.Addresses)
	return cmd
}
