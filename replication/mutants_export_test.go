//go:build mutants

package replication

// Without makes the engine a mutant.
func Without(o *Options, m Mutant) { o.mutants.without = safeguard("mutant:" + m.Name) }
