package node

import (
	"encoding/json"
	"os"
	"path/filepath"

	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/trust"
	"tongban/replication"
)

// mark says whose data a folder holds, so that a wrong configuration meets no foreign
// data.
type mark struct {
	Division  string             `json:"division"`
	Level     string             `json:"level"`
	Node      replication.NodeID `json:"node"`
	Cluster   string             `json:"cluster"`
	Founder   bool               `json:"founder"`              // It founds the division database.
	FirstBoot []byte             `json:"first_boot,omitempty"` // Hash of the code, until the database has it.
}

func (m mark) write(data string) error {
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return trust.WriteFile(filepath.Join(data, fileMark), append(text, '\n'), 0o600)
}

func readMark(cfg config.Config) (mark, error) {
	var m mark
	name := filepath.Join(cfg.Data, fileMark)
	text, err := os.ReadFile(name)
	if err != nil {
		return m, exit.Configf("%s is not the data folder of a node: %w; correct data in %s, or make a node with `tongban init` or `tongban join`", cfg.Data, err, cfg.File)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, exit.Configf("%s cannot be read: %w; restore it from a backup", name, err)
	}
	if m.Division != cfg.Division.Code || m.Level != cfg.Division.Level || m.Node != cfg.Node {
		return m, exit.Configf("%s holds the data of node %s of %s %s, but %s says node %s of %s %s; correct the configuration",
			cfg.Data, m.Node, m.Level, m.Division, cfg.File, cfg.Node, cfg.Division.Level, cfg.Division.Code)
	}
	return m, nil
}
