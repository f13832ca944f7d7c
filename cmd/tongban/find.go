package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tongban/appliance"
	"tongban/node/client"
	"tongban/node/config"
	"tongban/node/exit"
)

// systemFile is the configuration of the node that systemd runs.
const systemFile = appliance.SystemConfig

// addDir adds the flag --dir, which names the node by its folder.
func (a *app) addDir(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&a.dir, "dir", "", "folder of the node (default: $TONGBAN_DIR, or the only running node of this user)")
	return cmd
}

// addJSON adds the flag --json of a verb that reads.
func (a *app) addJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.asJSON, "json", false, "print JSON")
	return cmd
}

// configFile finds the configuration of the node that is meant: --config, --dir,
// $TONGBAN_DIR, the installed one, or the only running node of this user.
func (a *app) configFile() (string, error) {
	switch dir := os.Getenv("TONGBAN_DIR"); {
	case a.file != "" && a.dir != "":
		return "", exit.Usagef("--config and --dir both name a node; give one of them")
	case a.file != "":
		return a.file, nil
	case a.dir != "":
		return filepath.Join(a.dir, config.FileName), nil
	case dir != "":
		return filepath.Join(dir, config.FileName), nil
	}
	running := runningNodes()
	switch len(running) {
	case 1:
		return running[0], nil
	case 0:
		if _, err := os.Stat(systemFile); err == nil {
			return systemFile, nil
		}
		return "", exit.Errorf(exit.Temporary, "no node of this user runs; name one with --dir or --config, or start one with `tongban run --config FILE`")
	}
	return "", exit.Usagef("several nodes of this user run (%s); name one with --config", strings.Join(running, ", "))
}

// runningNodes returns the configurations of this user's nodes that answer.
func runningNodes() []string {
	var files []string
	for _, file := range config.Running() {
		cfg, _, err := config.Read(file, nil)
		if err != nil {
			continue
		}
		socket, _ := cfg.AdminSocket()
		if conn, err := net.DialTimeout("unix", socket, time.Second); err == nil {
			_ = conn.Close()
			files = append(files, file)
		}
	}
	return files
}

// config reads the configuration of the node that is meant.
func (a *app) config() (config.Config, []config.Setting, error) {
	file, err := a.configFile()
	if err != nil {
		return config.Config{}, nil, err
	}
	return config.Read(file, os.Environ())
}

// client returns a client of the node that is meant; close it.
func (a *app) client() (*client.Client, error) {
	cfg, _, err := a.config()
	if err != nil {
		return nil, err
	}
	return client.New(cfg), nil
}

// with runs do with a client of the node that is meant.
func (a *app) with(do func(c *client.Client) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}
