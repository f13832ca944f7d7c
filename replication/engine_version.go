package replication

// #include "shim.h"
import "C"

import "fmt"

// engineRules is the version of what is ours in the execution of a statement: the limits,
// the generator of random(), what is refused. A change of one that can give a recorded
// statement another effect gets a new number.
const engineRules = 1

// engineVersion is what this program executes statements with: the number of SQLite's
// version (3054001 is 3.54.1) times 1,000, and engineRules.
func engineVersion() uint64 { return uint64(C.tb_engine())*1000 + engineRules }

// checkEngine refuses what a newer program has executed: an older one may find another
// effect in the same statement, and must not try.
func checkEngine(newest uint64) error {
	if own := engineVersion(); newest > own {
		return fmt.Errorf("replication: the database was changed with SQLite %s, this program has %s: install the newer version of the program on this node too",
			engineName(newest), engineName(own))
	}
	return nil
}

func engineName(v uint64) string {
	n := v / 1000
	return fmt.Sprintf("%d.%d.%d (rules %d)", n/1_000_000, n/1000%1000, n%1000, v%1000)
}
