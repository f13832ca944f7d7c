//go:build !mutants

package replication

import "github.com/cockroachdb/pebble/v2/vfs"

// mutants is empty in every program that is meant to be right.
type mutants struct{}

func (mutants) lacks(safeguard) bool { return false }

func (mutants) disk(fs vfs.FS) vfs.FS { return fs }
