package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/internal/bench/databases"
	"tongban/internal/demo"
)

func newBenchReplication(a *app) *cobra.Command {
	var o databases.Options
	cmd := &cobra.Command{
		Use:   "replication",
		Short: "Measure databases: speed against a peer, many of them, fail-over, restart, a new replica",
		Long: `Starts three nodes as processes on this machine and measures the whole table of speed and
memory goals. Rows that compare need --peer, the addresses of a running cluster that speaks
rqlite's API: it is measured in turn with our nodes, and tables named tongban_bench_* are
made in it. Without it they say "no peer". All rows take about twelve minutes.
With --json one object a row: row, goal, figure, pass.`,
		Example: `  tongban bench replication --peer http://127.0.0.1:4001,http://127.0.0.1:4003,http://127.0.0.1:4005
  tongban bench replication --only insert,batch --json
  tongban bench replication --quick`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = demo.NewProgress(a.err)
			r, err := databases.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if a.asJSON {
				return r.WriteJSON(a.out)
			}
			fmt.Fprint(a.out, r)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Peer, "peer", "", "addresses of the peer's nodes, http://host:port, separated by commas")
	f.StringSliceVar(&o.Only, "only", nil, "measure only these rows, such as insert-64, or insert for all that begin with it")
	f.BoolVar(&o.Quick, "quick", false, "small and short, to try the measurement itself: no row passes")
	f.DurationVar(&o.For, "for", 0, "duration of each load (default 2.5s)")
	f.IntVar(&o.Rounds, "rounds", 0, "how often each load runs; the median counts (default 3)")
	f.BoolVar(&o.Keep, "keep", false, "leave the folders with data and logs")
	f.StringVar(&o.Profile, "profile", "", "write a CPU profile of the leader under the last load on one database to this file")
	return a.addJSON(cmd)
}
