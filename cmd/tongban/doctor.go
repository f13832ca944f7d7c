package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/appliance"
	"tongban/node/exit"
)

func newDoctor(a *app) *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong with a node, and say which command helps",
		Long: `Examines a node, running or stopped, and the machine below it; changes nothing. Each
finding that is not ok has the command that helps. The exit code is 3 when something
needs a look and 1 when something is bad.`,
		Example: "  tongban doctor\n  tongban doctor --config /srv/tongban/tongban.toml --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := a.configFile()
			if err != nil {
				return err
			}
			r := appliance.Examine(cmd.Context(), appliance.DoctorOptions{File: file})
			if a.asJSON {
				err = a.printJSON(r)
			} else {
				a.printReport(r)
			}
			if err == nil && r.ExitCode() != exit.OK {
				err = &exit.Error{Code: r.ExitCode(), Err: &quiet{}}
			}
			return err
		},
	}))
}

func (a *app) printReport(r appliance.Report) {
	colours := map[appliance.State]string{appliance.OK: green, appliance.Warn: yellow, appliance.Bad: red}
	counts := map[appliance.State]int{}
	for _, c := range r.Checks {
		counts[c.State]++
		fmt.Fprintf(a.out, "%s  %-14s  %s\n", a.paint(colours[c.State], fmt.Sprintf("%-4s", c.State)), c.Name, clean(c.Found))
		if c.Fix != "" {
			fmt.Fprintf(a.out, "                      → %s\n", clean(c.Fix))
		}
	}
	fmt.Fprintf(a.out, "\n%d checks: %d ok, %d to look at, %d bad\n", len(r.Checks),
		counts[appliance.OK], counts[appliance.Warn], counts[appliance.Bad])
}
