package portal

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"slices"
	"strings"
	"text/template/parse"

	"tongban/service"
)

//go:embed templates/*.html
var ownTemplates embed.FS

// loadPages parses everything once for each language.
func (p *Portal) loadPages() (map[string]*pageSet, error) {
	sets := map[string]*pageSet{}
	for _, lang := range langs {
		set, err := p.loadPageSet(lang)
		if err != nil {
			return nil, err
		}
		sets[lang] = set
	}
	return sets, nil
}

func (p *Portal) loadPageSet(lang string) (*pageSet, error) {
	set := &pageSet{lang: lang, pages: map[string]*template.Template{}}
	frame := template.New("frame").Funcs(p.funcs(set)).Option("missingkey=zero")
	if err := parseAll(frame, ownTemplates, "templates/*.html"); err != nil {
		return nil, fmt.Errorf("the frame's templates: %w", err)
	}
	if err := p.checkKeys("portal", frame); err != nil {
		return nil, err
	}
	set.frame = frame
	for _, d := range p.opts.Definitions {
		if d.Templates == nil {
			continue
		}
		if err := p.loadService(set, d); err != nil {
			return nil, fmt.Errorf("templates of service %s: %w", d.Name, err)
		}
	}
	// The copies above were taken before the first execution, which seals a set.
	return set, nil
}

// loadService parses a service's files as one set on a copy of the frame, so that two
// services may use one name for different things and neither can change a component.
func (p *Portal) loadService(set *pageSet, d service.Definition) error {
	own, err := set.frame.Clone()
	if err != nil {
		return err
	}
	before := definedNames(own)
	files, err := htmlFiles(d.Templates)
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := fs.ReadFile(d.Templates, file)
		if err != nil {
			return err
		}
		name := d.Name + "/" + strings.TrimSuffix(path.Base(file), ".html")
		if set.pages[name] != nil {
			return fmt.Errorf("two files are named %s", path.Base(file))
		}
		page, err := own.New(name).Parse(string(data))
		if err != nil {
			return err
		}
		set.pages[name] = page
	}
	if err := unchanged(before, own); err != nil {
		return err
	}
	return p.checkKeys("service "+d.Name, own)
}

func parseAll(t *template.Template, files fs.FS, pattern string) error {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if _, err := t.New(path.Base(name)).Parse(string(data)); err != nil {
			return err
		}
	}
	return nil
}

// htmlFiles lists the *.html files wherever the embed.FS holds them.
func htmlFiles(files fs.FS) ([]string, error) {
	var out []string
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Ext(name) == ".html" {
			out = append(out, name)
		}
		return err
	})
	return out, err
}

func definedNames(t *template.Template) map[string]*parse.Tree {
	out := map[string]*parse.Tree{}
	for _, one := range t.Templates() {
		out[one.Name()] = one.Tree
	}
	return out
}

// unchanged refuses a service template that redefines one of the frame's.
func unchanged(before map[string]*parse.Tree, after *template.Template) error {
	for _, one := range after.Templates() {
		if tree, ok := before[one.Name()]; ok && tree != one.Tree {
			return fmt.Errorf("%q is a component of the frame and cannot be defined again", one.Name())
		}
	}
	return nil
}

// checkKeys looks for every message named by a literal in a template: {{t "key"}}, the
// other message functions, and "Title"-like arguments are not told apart from text, so
// only the functions are checked.
func (p *Portal) checkKeys(owner string, set *template.Template) error {
	var errs []error
	for _, one := range set.Templates() {
		if one.Tree == nil || one.Tree.Root == nil {
			continue
		}
		for _, key := range literalKeys(one.Tree.Root) {
			if !p.messages.has(key) {
				errs = append(errs, fmt.Errorf("%s: template %s names the message %q, which is nowhere", owner, one.Name(), key))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// keyArgument is where a function takes a message key: its position after the name.
var keyArgument = map[string]int{"t": 1, "tn": 1, "field": 4, "choice": 2}

func literalKeys(root parse.Node) []string {
	var keys []string
	walk(root, func(c *parse.CommandNode) {
		name, ok := c.Args[0].(*parse.IdentifierNode)
		if !ok {
			return
		}
		at, ok := keyArgument[name.Ident]
		if !ok || at >= len(c.Args) {
			return
		}
		if text, ok := c.Args[at].(*parse.StringNode); ok {
			keys = append(keys, text.Text)
		}
	})
	return keys
}

// walk calls visit for every command below n.
func walk(n parse.Node, visit func(*parse.CommandNode)) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, child := range n.Nodes {
				walk(child, visit)
			}
		}
	case *parse.ActionNode:
		walk(n.Pipe, visit)
	case *parse.TemplateNode:
		walk(n.Pipe, visit)
	case *parse.IfNode:
		walkBranch(&n.BranchNode, visit)
	case *parse.RangeNode:
		walkBranch(&n.BranchNode, visit)
	case *parse.WithNode:
		walkBranch(&n.BranchNode, visit)
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				walk(c, visit)
			}
		}
	case *parse.CommandNode:
		visit(n)
		for _, arg := range n.Args {
			walk(arg, visit)
		}
	}
}

func walkBranch(b *parse.BranchNode, visit func(*parse.CommandNode)) {
	walk(b.Pipe, visit)
	walk(b.List, visit)
	walk(b.ElseList, visit)
}
