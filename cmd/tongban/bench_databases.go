package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/internal/bench/databases"
	"tongban/internal/demo"
	"tongban/node/exit"
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
	f.StringVar(&o.Profile, "profile", "", "write a CPU profile to this file: of the node that leads (the first database) under the last load that compares")
	return a.addJSON(cmd)
}

func newBenchIdle(a *app) *cobra.Command {
	var o databases.IdleOptions
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "Measure what databases cost while nothing is asked of them",
		Long: `Starts nodes as processes on this machine, makes databases with a table of ten rows each,
watches the processes while nothing is asked of them, writes to a few, and then stops and
starts all nodes at once. cpu_percent is of one core, all nodes together; rss_mb_per_node
and fds_per_node are those of the node that has most; leaders are the databases with a
leader that every node knows; elected_s is the time from the start of all nodes until every
database has one.`,
		Example: "  tongban bench idle --databases 1000 --nodes 3 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Databases < 1 || o.Nodes < 1 {
				return exit.Usagef("--databases and --nodes are at least 1")
			}
			o.Progress = demo.NewProgress(a.err)
			i, err := databases.MeasureIdle(cmd.Context(), o)
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(i)
			}
			fmt.Fprint(a.out, i)
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Databases, "databases", 1000, "how many databases")
	f.IntVar(&o.Nodes, "nodes", 3, "how many nodes")
	f.DurationVar(&o.Calm, "calm", 0, "how long to wait before watching (default 30s, after which idle files are closed, and 20ms for each database)")
	f.DurationVar(&o.Window, "window", 0, "how long to watch (default 1m0s)")
	f.StringVar(&o.Profile, "profile", "", "write a profile of the memory, after the window, to this file: of the node that has most")
	f.BoolVar(&o.Keep, "keep", false, "leave the folder with data and logs")
	return a.addJSON(cmd)
}
