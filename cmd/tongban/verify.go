package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tongban/appliance"
	"tongban/node"
	"tongban/node/client"
	"tongban/node/exit"
	"tongban/replication"
)

func newVerify(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [DIR...]",
		Short: "Compare the replicas of a running division, or check those of stopped nodes",
		Long: `Without a folder it asks the running node: every database's replicas are compared at one
index, while they serve, and one that differs from the majority rebuilds itself. The exit
code is 1 when replicas differ, 3 when one did not answer.

With folders it reads the folders of stopped nodes: each replica must be whole in itself (SQLite's
structure, foreign keys, the chain of the audit, the feeds), and replicas that have
applied the same entries must hold the same rows. A running node is refused. The exit
code is 1 when something contradicts, 3 when a replica could not be compared.`,
		Example: "  tongban verify\n  tongban verify /srv/tongban\n  tongban verify /mnt/n1 /mnt/n2 /mnt/n3 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.with(func(c *client.Client) error { return a.verifyRunning(cmd.Context(), c) })
			}
			tell := func(id replication.DatabaseID) {
				if terminal(a.err) {
					fmt.Fprintf(a.err, "\r\x1b[K%s …", id)
				}
			}
			v, err := appliance.Verify(cmd.Context(), args, tell)
			if terminal(a.err) {
				fmt.Fprint(a.err, "\r\x1b[K")
			}
			if err != nil {
				return err
			}
			if a.asJSON {
				err = a.printJSON(v)
			} else {
				fmt.Fprint(a.out, v.Text())
			}
			if err == nil && v.ExitCode() != exit.OK {
				err = &exit.Error{Code: v.ExitCode(), Err: &quiet{}}
			}
			return err
		},
	}
	return a.addJSON(a.addDir(cmd))
}

// verifyRunning has a running node compare the replicas of all its databases, one after
// another.
func (a *app) verifyRunning(ctx context.Context, c *client.Client) error {
	var list []node.DatabaseStatus
	if err := c.Get(ctx, "/node/databases", &list); err != nil {
		return err
	}
	found := []replication.Verification{}
	code := exit.OK
	for _, d := range list {
		var v replication.Verification
		if err := c.Post(ctx, "/node/verify", node.VerifyRequest{Database: d.Database}, &v); err != nil {
			return fmt.Errorf("verify %s: %w", d.Database, err)
		}
		found = append(found, v)
		switch {
		case v.Doubt || len(v.Odd) > 0:
			code = exit.Failed
		case !v.Equal && code == exit.OK:
			code = exit.Degraded
		}
		if !a.asJSON {
			a.printVerification(v)
		}
	}
	if a.asJSON {
		if err := a.printJSON(found); err != nil {
			return err
		}
	}
	if code != exit.OK {
		return &exit.Error{Code: code, Err: &quiet{}}
	}
	return nil
}

func (a *app) printVerification(v replication.Verification) {
	switch {
	case v.Equal:
		fmt.Fprintf(a.out, "%s: %d replicas are equal at index %d (%.16s…)\n", v.Database, len(v.Replicas), v.Index, v.Replicas[0].Checksum)
		return
	case v.Doubt:
		fmt.Fprintf(a.out, "%s: the replicas differ at index %d, and no majority says which is right\n", v.Database, v.Index)
	case len(v.Odd) > 0:
		fmt.Fprintf(a.out, "%s: %v differs at index %d, and is being rebuilt\n", v.Database, v.Odd, v.Index)
	default:
		fmt.Fprintf(a.out, "%s: not all replicas answered at index %d\n", v.Database, v.Index)
	}
	for _, r := range v.Replicas {
		fmt.Fprintf(a.out, "  %s  %.16s%s\n", r.Node, r.Checksum, r.Err)
	}
}
