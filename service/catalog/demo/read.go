package demo

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// catalog is everything the data files say.
type catalog struct {
	departments []department
	items       []Item
	sets        map[string][]Material
	steps       map[string][]string
}

// department adds to Department what only the codes need.
type department struct {
	Department
	number string // Two digits, the beginning of the file's name.
}

// itemFields is the number of |-separated fields of an item's line; README.md names them.
const itemFields = 13

// serviceObjects is the national dictionary of service objects, by code.
var serviceObjects = [...]string{
	1: "自然人", 2: "企业法人", 3: "事业法人", 4: "社会组织法人", 5: "非法人企业", 6: "行政机关", 7: "其他组织",
}

// read parses the files below data/ of fsys.
func read(fsys fs.FS) (catalog, error) {
	var c catalog
	var err error
	if c.sets, err = readSets(fsys); err != nil {
		return catalog{}, err
	}
	if c.steps, err = readSteps(fsys); err != nil {
		return catalog{}, err
	}
	names, err := fs.Glob(fsys, "data/items/*.txt")
	if err != nil {
		return catalog{}, fmt.Errorf("list departments: %w", err)
	}
	for _, name := range names {
		if err := c.readDepartment(fsys, name); err != nil {
			return catalog{}, err
		}
	}
	return c, nil
}

// eachLine calls fn for every line of the file that is neither empty nor a # comment, and
// adds file and line number to its error.
func eachLine(fsys fs.FS, name string, fn func(line string) error) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := fn(line); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	return nil
}

// split cuts s at sep, trims the parts and drops the empty ones.
func split(s, sep string) []string {
	var out []string
	for part := range strings.SplitSeq(s, sep) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// expand writes ~ out: nearly every statute's title begins with the country's name.
func expand(s string) string {
	return strings.ReplaceAll(s, "~", "中华人民共和国")
}

// readSets reads materials.txt: "set => material；material".
func readSets(fsys fs.FS) (map[string][]Material, error) {
	sets := map[string][]Material{}
	err := eachLine(fsys, "data/materials.txt", func(line string) error {
		name, list, ok := strings.Cut(line, "=>")
		name = strings.TrimSpace(name)
		if !ok || name == "" || sets[name] != nil {
			return fmt.Errorf("want a new set as %q, have %q", "name => material；material", line)
		}
		for _, token := range split(list, "；") {
			sets[name] = append(sets[name], parseMaterial(token))
		}
		return nil
	})
	return sets, err
}

// readSteps reads steps.txt: "name => step；step".
func readSteps(fsys fs.FS) (map[string][]string, error) {
	steps := map[string][]string{}
	err := eachLine(fsys, "data/steps.txt", func(line string) error {
		name, list, ok := strings.Cut(line, "=>")
		name = strings.TrimSpace(name)
		if !ok || name == "" || steps[name] != nil {
			return fmt.Errorf("want new steps as %q, have %q", "name => step；step", line)
		}
		steps[name] = split(list, "；")
		return nil
	})
	return steps, err
}

// parseMaterial reads "=name?{basis}": = means from shared data, ? means not required.
// The kind follows from how the name ends, as clerks name their papers.
func parseMaterial(token string) Material {
	m := Material{Kind: Original, Required: true, Source: Applicant}
	if name, basis, ok := strings.Cut(token, "{"); ok {
		token, m.Basis = name, expand(strings.TrimSuffix(basis, "}"))
	}
	if rest, ok := strings.CutPrefix(token, "="); ok {
		token, m.Source = rest, SharedData
	}
	if rest, ok := strings.CutSuffix(token, "?"); ok {
		token, m.Required = rest, false
	}
	m.Name = token
	for _, end := range []string{"表", "申请书", "承诺书", "声明", "申请", "委托书", "报告书"} {
		if strings.HasSuffix(token, end) {
			m.Kind = Form
		}
	}
	if strings.HasSuffix(token, "复印件") {
		m.Kind = Copy
	}
	return m
}

// readDepartment reads one file of data/items: a head of "key = value" lines, then
// "[main item]" lines and items.
func (c *catalog) readDepartment(fsys fs.FS, name string) error {
	d := department{number: path.Base(name)[:2]}
	mainItem := ""
	err := eachLine(fsys, name, func(line string) error {
		if head, ok := strings.CutPrefix(line, "["); ok {
			mainItem = strings.TrimSuffix(head, "]")
			return nil
		}
		if !strings.Contains(line, "|") {
			return d.set(line)
		}
		item, err := c.parseItem(d, mainItem, line)
		if err != nil {
			return err
		}
		c.items = append(c.items, item)
		return nil
	})
	c.departments = append(c.departments, d)
	return err
}

// set takes one line of a department's head.
func (d *department) set(line string) error {
	key, value, _ := strings.Cut(line, "=")
	value = strings.TrimSpace(value)
	switch strings.TrimSpace(key) {
	case "name":
		d.Name = value
	case "name_en":
		d.NameEN = value
	case "slug":
		d.Slug = value
	case "body":
		d.BodyCode = value
	default:
		return fmt.Errorf("unknown line %q", line)
	}
	return nil
}

// parseItem reads one item's line of department d.
func (c *catalog) parseItem(d department, mainItem, line string) (Item, error) {
	f := strings.Split(line, "|")
	if len(f) != itemFields {
		return Item{}, fmt.Errorf("%d fields instead of %d: %q", len(f), itemFields, line)
	}
	for i := range f {
		f[i] = strings.TrimSpace(f[i])
	}
	item := Item{
		Notice: Notice, Department: d.Department, MainItem: mainItem,
		Name: f[3], NameEN: f[4], LegalBasis: split(expand(f[5]), "；"),
		Fee: f[8], Result: f[10], Conditions: f[11], Keywords: strings.Fields(f[12]),
	}
	if mainItem == "" {
		item.MainItem = item.Name
	}
	kind, err := strconv.Atoi(f[1])
	item.TaskType = TaskType(kind)
	if err != nil || item.TaskType.String() == "" {
		return Item{}, fmt.Errorf("unknown task type %q", f[1])
	}
	item.BasicCode = basicCode(d.number, item.TaskType, f[0])
	item.ItemCode = d.BodyCode + levelCounty + item.BasicCode
	if item.ServiceObjects, err = parseObjects(f[2]); err != nil {
		return Item{}, err
	}
	if err := c.parseDays(&item, f[6]); err != nil {
		return Item{}, err
	}
	if err := parseDoor(&item, f[7]); err != nil {
		return Item{}, err
	}
	if item.Materials, err = c.parseMaterials(f[9], item.LegalBasis); err != nil {
		return Item{}, err
	}
	return item, nil
}

// basicCode is DEMO, department, task type and the item's number: 12 characters.
func basicCode(department string, t TaskType, number string) string {
	return fmt.Sprintf("DEMO%s%02d%s", department, int(t), number)
}

// parseObjects reads the codes of service objects, one digit each.
func parseObjects(s string) ([]string, error) {
	var out []string
	for _, r := range s {
		i := int(r - '0')
		if i < 1 || i >= len(serviceObjects) {
			return nil, fmt.Errorf("unknown service object %q", r)
		}
		out = append(out, serviceObjects[i])
	}
	return out, nil
}

// parseDays reads "20/7 现场": statutory and promised working days, 即 for an instant
// item, and the name of its steps where they are not the usual ones of its type.
func (c *catalog) parseDays(item *Item, s string) error {
	days, steps, _ := strings.Cut(s, " ")
	statutory, promise, _ := strings.Cut(days, "/")
	item.ProjectType = Promised
	if promise == "即" {
		item.ProjectType, promise = Instant, "1"
	}
	var err1, err2 error
	item.StatutoryDays, err1 = strconv.Atoi(statutory)
	item.PromiseDays, err2 = strconv.Atoi(promise)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("limits %q are not as 20/7 or 20/即", s)
	}
	if steps == "" {
		steps = usualSteps(item.TaskType, item.ProjectType)
	}
	known, ok := c.steps[steps]
	if !ok {
		return fmt.Errorf("unknown steps %q", steps)
	}
	item.Steps = append([]string(nil), known...)
	return nil
}

// usualSteps names the steps of an item that names none.
func usualSteps(t TaskType, p ProjectType) string {
	switch {
	case p == Instant:
		return "即办"
	case t == Permit:
		return "许可"
	case t == Payment:
		return "给付"
	case t == Ruling:
		return "裁决"
	case t == PublicService:
		return "服务"
	}
	return "办理"
}

// parseDoor reads "0owp": visits, then the channels online, window and phone.
func parseDoor(item *Item, s string) error {
	for i, r := range s {
		switch {
		case i == 0 && (r == '0' || r == '1'):
			item.Visits = int(r - '0')
		case r == 'o':
			item.Channels = append(item.Channels, "online")
		case r == 'w':
			item.Channels = append(item.Channels, "window")
		case r == 'p':
			item.Channels = append(item.Channels, "phone")
		default:
			return fmt.Errorf("visits and channels %q are not as 0owp", s)
		}
	}
	return nil
}

// parseMaterials reads "@set；material", or 无. A material without a basis of its own takes
// the item's first.
func (c *catalog) parseMaterials(s string, basis []string) ([]Material, error) {
	if s == "无" {
		return nil, nil
	}
	var out []Material
	for _, token := range split(s, "；") {
		name, isSet := strings.CutPrefix(token, "@")
		if !isSet {
			out = append(out, parseMaterial(token))
			continue
		}
		set, ok := c.sets[name]
		if !ok {
			return nil, fmt.Errorf("unknown material set %q", name)
		}
		out = append(out, set...)
	}
	for i := range out {
		if out[i].Basis == "" && len(basis) > 0 {
			out[i].Basis = basis[0]
		}
	}
	return out, nil
}
