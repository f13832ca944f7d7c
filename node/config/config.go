// Package config reads and writes tongban.toml, the one configuration file of a node.
//
// The file is strict: an unknown key, a value of the wrong type or out of its bound is
// refused by name. Every key has a default, may be overridden by an environment variable
// (web.listen by TONGBAN_WEB_LISTEN), and is described by [Keys]. What belongs to the
// division rather than to the box is replicated state and is not here.
package config

import (
	"path/filepath"

	"tongban/replication"
)

// FileName is the name of the configuration file within a node's folder.
const FileName = "tongban.toml"

// Config is the checked configuration of one node. Paths are absolute.
type Config struct {
	File string // Where it was read from.

	Data     string             // Folder of keys, log and databases.
	Node     replication.NodeID // Unique in the division.
	Division Division
	Web      Web
	Peer     Endpoint // The node port: other nodes of the division, mutual TLS.
	Gossip   Endpoint // serf.
	Link     Endpoint // Leaf links of child divisions, mutual TLS.
	// For programs: application databases over HTTP. Not served without a Listen; plain on a
	// loopback address, else with the certificate of Web.
	Databases Endpoint
	Admin     string // Unix socket; see Config.AdminSocket.
	Log       Log
}

// Division names the division that the node serves.
type Division struct {
	Code  string // 6 digits.
	Level string // national, province, city, county
}

// Web is the port for people.
type Web struct {
	Listen      string // host:port
	URL         string // What people type; empty: made of Listen.
	TLS         string // off, self, files
	Certificate string // PEM file, for files.
	Key         string // PEM file, for files.
}

// Endpoint is an address to listen on and the one that others dial.
type Endpoint struct {
	Listen    string // host:port
	Advertise string // host:port; empty: Listen.
}

// Log says what is logged and how.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text, json
}

// Dir is the folder of the configuration file.
func (c Config) Dir() string { return filepath.Dir(c.File) }

// Default returns the configuration in which every key has its default; node and division
// are to be set.
func Default(file string) Config {
	c := Config{File: file}
	fields := c.fields()
	for _, k := range Keys() {
		*fields[k.Name] = k.Default
		if k.path {
			*fields[k.Name] = absolute(c.Dir(), k.Default)
		}
	}
	return c
}

// fields pairs each key with its place in c.
func (c *Config) fields() map[string]*string {
	return map[string]*string{
		"data":                &c.Data,
		"node":                (*string)(&c.Node),
		"division.code":       &c.Division.Code,
		"division.level":      &c.Division.Level,
		"web.listen":          &c.Web.Listen,
		"web.url":             &c.Web.URL,
		"web.tls":             &c.Web.TLS,
		"web.certificate":     &c.Web.Certificate,
		"web.key":             &c.Web.Key,
		"peer.listen":         &c.Peer.Listen,
		"peer.advertise":      &c.Peer.Advertise,
		"gossip.listen":       &c.Gossip.Listen,
		"gossip.advertise":    &c.Gossip.Advertise,
		"link.listen":         &c.Link.Listen,
		"link.advertise":      &c.Link.Advertise,
		"databases.listen":    &c.Databases.Listen,
		"databases.advertise": &c.Databases.Advertise,
		"admin.socket":        &c.Admin,
		"log.level":           &c.Log.Level,
		"log.format":          &c.Log.Format,
	}
}
