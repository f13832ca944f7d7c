package portal

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"github.com/pelletier/go-toml/v2"
	"golang.org/x/text/language"

	"tongban/service"
)

//go:embed messages/*.toml
var ownMessages embed.FS

// Languages of the program; the first is the default.
const (
	Chinese = "zh-CN"
	English = "en"
)

var langs = []string{Chinese, English}

var messageFiles = map[string]string{Chinese: "active.zh.toml", English: "active.en.toml"}

// messages are the texts of the frame and of all services.
type messages struct {
	localizers map[string]*i18n.Localizer
	owner      map[string]string // Key → who defines it.
}

var parameter = regexp.MustCompile(`\{\{[^}]*?\.(\w+)[^}]*\}\}`)

func loadMessages(defs []service.Definition) (*messages, error) {
	bundle := i18n.NewBundle(language.MustParse(Chinese))
	bundle.RegisterUnmarshalFunc("toml", toml.Unmarshal)
	m := &messages{localizers: map[string]*i18n.Localizer{}, owner: map[string]string{}}

	own, err := fs.Sub(ownMessages, "messages")
	if err != nil {
		return nil, err
	}
	if err := m.add(bundle, "portal", own); err != nil {
		return nil, err
	}
	for _, d := range defs {
		if d.Messages == nil {
			continue
		}
		if err := m.add(bundle, d.Name, d.Messages); err != nil {
			return nil, err
		}
	}
	for _, lang := range langs {
		m.localizers[lang] = i18n.NewLocalizer(bundle, lang)
	}
	return m, nil
}

// add reads the two files of one owner and compares them.
func (m *messages) add(bundle *i18n.Bundle, owner string, files fs.FS) error {
	params := map[string]map[string][]string{}
	for _, lang := range langs {
		name := messageFiles[lang]
		data, err := readAnywhere(files, name)
		if err != nil {
			return fmt.Errorf("messages of %s: read %s: %w", owner, name, err)
		}
		// The language comes from the path; "active.zh-CN.toml" is what the bundle wants.
		file, err := bundle.ParseMessageFileBytes(data, "active."+lang+".toml")
		if err != nil {
			return fmt.Errorf("messages of %s: parse %s: %w", owner, name, err)
		}
		params[lang] = map[string][]string{}
		for _, msg := range file.Messages {
			if strings.TrimSpace(msg.Other) == "" {
				return fmt.Errorf("messages of %s: %s: %q is empty", owner, name, msg.ID)
			}
			params[lang][msg.ID] = paramsOf(msg)
		}
	}
	if err := sameKeys(owner, params[Chinese], params[English]); err != nil {
		return err
	}
	for key := range params[Chinese] {
		if other, ok := m.owner[key]; ok {
			return fmt.Errorf("messages of %s: %q is already a message of %s", owner, key, other)
		}
		m.owner[key] = owner
	}
	return nil
}

// readAnywhere reads the file of that name wherever the embed.FS holds it.
func readAnywhere(files fs.FS, name string) ([]byte, error) {
	found := name
	err := fs.WalkDir(files, ".", func(at string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Base(at) == name {
			found = at
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return fs.ReadFile(files, found)
}

func paramsOf(msg *i18n.Message) []string {
	set := map[string]bool{}
	for _, text := range []string{msg.One, msg.Other} {
		for _, found := range parameter.FindAllStringSubmatch(text, -1) {
			set[found[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func sameKeys(owner string, zh, en map[string][]string) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(zh)) {
		other, ok := en[key]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("messages of %s: %q is missing in %s", owner, key, messageFiles[English]))
		case !slices.Equal(zh[key], other):
			errs = append(errs, fmt.Errorf("messages of %s: %q has the parameters %v in one language and %v in the other", owner, key, zh[key], other))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(en)) {
		if _, ok := zh[key]; !ok {
			errs = append(errs, fmt.Errorf("messages of %s: %q is missing in %s", owner, key, messageFiles[Chinese]))
		}
	}
	return errors.Join(errs...)
}

func (m *messages) has(key string) bool { _, ok := m.owner[key]; return ok }

func (m *messages) text(lang, key string, params map[string]any) string {
	return m.localize(lang, &i18n.LocalizeConfig{MessageID: key, TemplateData: params})
}

func (m *messages) plural(lang, key string, count any, params map[string]any) string {
	data := map[string]any{"PluralCount": count}
	maps.Copy(data, params)
	return m.localize(lang, &i18n.LocalizeConfig{MessageID: key, TemplateData: data, PluralCount: count})
}

// localize never fails: a key that nobody defines shows itself, which a reader can at
// least report, and a missing parameter shows as such.
func (m *messages) localize(lang string, c *i18n.LocalizeConfig) string {
	if !m.has(c.MessageID) {
		return c.MessageID
	}
	text, err := m.localizers[langOf(lang)].Localize(c)
	if err != nil && text == "" {
		return c.MessageID
	}
	return text
}

func langOf(tag string) string {
	if base, _, _ := strings.Cut(strings.ToLower(tag), "-"); base == "en" {
		return English
	}
	return Chinese
}

var matcher = language.NewMatcher([]language.Tag{language.SimplifiedChinese, language.English})

// maxAcceptLanguage bounds the header that is parsed, in bytes.
const maxAcceptLanguage = 200

// Lang returns the language of a request: ?lang=, the cookie "lang", Accept-Language,
// else zh-CN.
func Lang(r *http.Request) string {
	if l, ok := chosen(r, "lang"); ok {
		return langOf(l)
	}
	header := r.Header.Get("Accept-Language")
	if header == "" || len(header) > maxAcceptLanguage {
		return Chinese
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return Chinese
	}
	if _, i, confidence := matcher.Match(tags...); confidence > language.No {
		return langs[i]
	}
	return Chinese
}
