package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/v2"
	"github.com/pelletier/go-toml/v2"

	"tongban/node/exit"
)

// maxFile bounds the file: the longest sensible one has 2 KiB.
const maxFile = 64 << 10

// Setting is one key with its value and where that came from.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // default, file, or the environment variable.
	Bound  string `json:"bound"`
	Doc    string `json:"doc"`
}

// Read reads and checks the file; environ ("NAME=value") overrides it. Its errors have
// exit code 78 and name the key.
func Read(file string, environ []string) (Config, []Setting, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return Config{}, nil, exit.Configf("find the configuration %s: %w", file, err)
	}
	layers, err := load(file, environ)
	if err != nil {
		return Config{}, nil, err
	}
	c := Config{File: file}
	fields := c.fields()
	settings := make([]Setting, 0, len(fields))
	for _, k := range Keys() {
		s := Setting{Key: k.Name, Value: k.Default, Origin: "default", Bound: k.Bound, Doc: k.Doc}
		for _, l := range layers {
			if !l.values.Exists(k.Name) {
				continue
			}
			text, ok := l.values.Get(k.Name).(string)
			if !ok {
				return c, nil, exit.Configf("%s: %s must be a text in quotes (%s)", l.origin(k), k.Name, k.Bound)
			}
			s.Value, s.Origin = text, l.origin(k)
		}
		if err := k.accept(s.Value); err != nil {
			return c, nil, exit.Configf("%s: %s = %q: %w; it must be %s", s.Origin, k.Name, s.Value, err, k.Bound)
		}
		*fields[k.Name] = s.Value
		if k.path {
			*fields[k.Name] = absolute(c.Dir(), s.Value)
		}
		settings = append(settings, s)
	}
	if err := c.checkTogether(); err != nil {
		return c, nil, exit.Configf("%s: %w", file, err)
	}
	return c, settings, nil
}

func (k Key) accept(value string) error {
	if value == "" {
		if k.needed {
			return errors.New("it is missing")
		}
		return nil
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' }) || len(value) > 1000 {
		return errors.New("it has control characters or is too long")
	}
	if k.check == nil {
		return nil
	}
	return k.check(value)
}

// layer is one source of values; later layers win.
type layer struct {
	values *koanf.Koanf
	origin func(Key) string
}

// source makes a nested map a koanf.Provider.
type source map[string]any

func (s source) Read() (map[string]any, error) { return s, nil }
func (s source) ReadBytes() ([]byte, error)    { return nil, errors.ErrUnsupported }

func load(file string, environ []string) ([]layer, error) {
	fromFile, err := loadFile(file)
	if err != nil {
		return nil, err
	}
	fromEnv, err := loadEnv(environ)
	if err != nil {
		return nil, err
	}
	return []layer{
		{fromFile, func(Key) string { return file }},
		{fromEnv, Key.Env},
	}, nil
}

func loadFile(file string) (*koanf.Koanf, error) {
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, exit.Configf("there is no configuration %s; make a node with `tongban init` or `tongban join`, or name the file with --config", file)
	case err != nil:
		return nil, exit.Configf("read the configuration: %w", err)
	case len(data) > maxFile:
		return nil, exit.Configf("%s is larger than %d KiB; that is no configuration of tongban", file, maxFile>>10)
	}
	tree := map[string]any{}
	if err := toml.Unmarshal(data, &tree); err != nil {
		var where *toml.DecodeError
		if errors.As(err, &where) {
			row, column := where.Position()
			return nil, exit.Configf("%s, line %d, column %d: %s", file, row, column, strings.TrimPrefix(where.Error(), "toml: "))
		}
		return nil, exit.Configf("%s: %w", file, err)
	}
	k := koanf.New(".")
	if err := k.Load(source(tree), nil); err != nil {
		return nil, exit.Configf("%s: %w", file, err)
	}
	names := keyNames()
	for _, name := range slices.Sorted(maps.Keys(k.All())) {
		if !slices.Contains(names, name) && !isEmptySection(k, name, names) {
			return nil, exit.Configf("%s: there is no key %s; did you mean %s?", file, name, Nearest(name, names))
		}
	}
	return k, nil
}

// isEmptySection reports whether name is a section of the file in which nothing is set.
func isEmptySection(k *koanf.Koanf, name string, names []string) bool {
	_, table := k.Get(name).(map[string]any)
	return table && slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, name+".") })
}

// loadEnv takes the variables that name a key. A variable that begins like a section but
// names no key of it is a mistake; others (TONGBAN_DIR) belong to the commands.
func loadEnv(environ []string) (*koanf.Koanf, error) {
	byEnv, sections := map[string]string{}, map[string]bool{}
	for _, k := range Keys() {
		byEnv[k.Env()] = k.Name
		if section, _, ok := strings.Cut(k.Name, "."); ok {
			sections["TONGBAN_"+strings.ToUpper(section)+"_"] = true
		}
	}
	k := koanf.New(".")
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if key, ok := byEnv[name]; ok {
			if err := k.Set(key, value); err != nil {
				return nil, exit.Configf("%s: %w", name, err)
			}
			continue
		}
		for section := range sections {
			if strings.HasPrefix(name, section) {
				return nil, exit.Configf("the environment variable %s names no key; did you mean %s?",
					name, Nearest(name, slices.Collect(maps.Keys(byEnv))))
			}
		}
	}
	return k, nil
}

func keyNames() []string {
	keys := Keys()
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	return names
}

// Write writes the configuration to c.File (mode 0644; it holds no secret), each key with
// its description; keys at their default are commented out. Paths below the file's folder
// are written relative to it.
func Write(c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	fields := c.fields()
	var b strings.Builder
	b.WriteString("# Configuration of a tongban node. `tongban config show --origin` prints what holds.\n")
	section := ""
	for _, k := range Keys() {
		head, last, nested := strings.Cut(k.Name, ".")
		if !nested {
			head, last = "", k.Name
		}
		if head != section {
			fmt.Fprintf(&b, "\n[%s]\n", head)
			section = head
		}
		value := *fields[k.Name]
		if k.path && value != "" {
			if rel, err := filepath.Rel(c.Dir(), value); err == nil && filepath.IsLocal(rel) {
				value = rel
			}
		}
		line, err := toml.Marshal(map[string]string{last: value})
		if err != nil {
			return fmt.Errorf("write %s: %w", k.Name, err)
		}
		fmt.Fprintf(&b, "\n# %s Must be: %s.\n", k.Doc, k.Bound)
		if value == k.Default {
			b.WriteString("# ")
		}
		b.Write(line)
	}
	return os.WriteFile(c.File, []byte(b.String()), 0o644)
}

// Nearest returns the candidate with the fewest edits (Levenshtein) to word.
func Nearest(word string, candidates []string) string {
	best, least := "", -1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(word, c); least < 0 || d < least {
			best, least = c, d
		}
	}
	return best
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
