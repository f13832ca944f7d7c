package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"tongban/appliance"
	"tongban/node"
	"tongban/node/config"
	"tongban/node/exit"
)

func newRun(a *app) *cobra.Command {
	return a.addDir(&cobra.Command{
		Use:   "run",
		Short: "Run a node until it is interrupted",
		Long: `Runs a node in the foreground. An interrupt or SIGTERM stops it within eight seconds,
after its leaderships were handed over. Under systemd it reports when it is ready.`,
		Example: `  tongban run --config /srv/tongban/tongban.toml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.file == "" && a.dir == "" {
				file, err := a.stoppedFile()
				if err != nil {
					return err
				}
				a.file = file
			}
			cfg, _, err := a.config()
			if err != nil {
				return err
			}
			n, err := node.New(cfg, node.Options{Log: newLog(cfg.Log, a.err), Ready: func() { a.ready(cfg) }, Admin: appliance.Serve})
			if err != nil {
				return err
			}
			return n.Run(cmd.Context())
		},
	})
}

// stoppedFile finds the configuration when none is named: a running node is not meant.
func (a *app) stoppedFile() (string, error) {
	if file, err := a.configFile(); err == nil && len(runningNodes()) == 0 {
		return file, nil
	}
	return "", exit.Usagef("say which node: tongban run --config FILE")
}

func (a *app) ready(cfg config.Config) {
	if !terminal(a.err) {
		return
	}
	url := cfg.Web.URL
	if url == "" {
		url = map[bool]string{true: "http://", false: "https://"}[cfg.Web.TLS == "off"] + strings.Replace(cfg.Web.Listen, "127.0.0.1:", "localhost:", 1)
	}
	fmt.Fprintf(a.err, "%s serves at %s; stop it with Ctrl-C.\n", cfg.Node, url)
}

// newLog makes the log that the configuration asks for.
func newLog(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // Checked with the configuration.
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
