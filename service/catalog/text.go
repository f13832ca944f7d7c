package catalog

import (
	"fmt"
	"strings"
	"unicode"
)

// foldRune makes one rune of text comparable: full-width forms become half-width ones and
// capitals small. It keeps positions: one rune becomes one.
func foldRune(r rune) rune {
	switch {
	case r >= 0xff01 && r <= 0xff5e:
		r -= 0xfee0
	case r == 0x3000:
		r = ' '
	case strings.ContainsRune("〔【［〈《「『｛", r):
		r = '('
	case strings.ContainsRune("〕】］〉》」』｝", r):
		r = ')'
	}
	return unicode.ToLower(r)
}

// nameKey is a name without what writers vary: width, case, kinds of brackets and
// quotation marks, spaces and dots. Two names are the same item's when their keys are.
func nameKey(name string) string {
	return strings.Map(func(r rune) rune {
		r = foldRune(r)
		switch {
		case unicode.IsSpace(r), strings.ContainsRune(`"'“”‘’·•・`, r):
			return -1
		case strings.ContainsRune("[{<", r):
			return '('
		case strings.ContainsRune("]}>", r):
			return ')'
		}
		return r
	}, name)
}

// textRun is a piece of text that is all Chinese characters or all other letters and
// digits, folded.
type textRun struct {
	han  bool
	text string
}

// runsOf cuts text into runs; everything else separates them.
func runsOf(text string) []textRun {
	var out []textRun
	var b strings.Builder
	han := false
	flush := func() {
		if b.Len() > 0 {
			out = append(out, textRun{han, b.String()})
			b.Reset()
		}
	}
	for _, r := range text {
		r = foldRune(r)
		isHan := unicode.Is(unicode.Han, r)
		switch {
		case !isHan && !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			continue
		case isHan != han:
			flush()
		}
		han = isHan
		b.WriteRune(r)
	}
	flush()
	return out
}

// token writes a run or a part of one so that the tokenizer of SQLite, which knows the
// letters of Unicode 6.1, keeps it whole: what it may not know is written as its number.
func token(text string) string {
	plain := true
	for _, r := range text {
		plain = plain && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 0x4e00 && r <= 0x9fcc || r >= 0x3400 && r <= 0x4db5)
	}
	if plain {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, "x%x", r)
	}
	return b.String()
}

// tokenSet collects tokens, each once, in order.
type tokenSet struct {
	seen map[string]bool
	list []string
}

func (t *tokenSet) add(token string) {
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	if token != "" && !t.seen[token] {
		t.seen[token] = true
		t.list = append(t.list, token)
	}
}

func (t *tokenSet) String() string { return strings.Join(t.list, " ") }

// addText adds the single characters and overlapping pairs of Chinese text, and other
// words whole. (A trigram index would find nothing for a word of two characters.)
func (t *tokenSet) addText(text string) {
	for _, run := range runsOf(text) {
		if !run.han {
			t.add(token(run.text))
			continue
		}
		runes := []rune(run.text)
		for i := range runes {
			t.add(token(string(runes[i : i+1])))
			if i+1 < len(runes) {
				t.add(token(string(runes[i : i+2])))
			}
		}
	}
}

// Lengths up to which the pinyin of a text can be typed in one word.
const (
	maxSyllables = 10
	maxInitials  = 10
)

// addPinyin adds, for each Chinese character, the pinyin from there on in one word, and
// the initials: what people type is the beginning of one of them ("shebao", "sb").
func (t *tokenSet) addPinyin(text string) {
	for _, run := range runsOf(text) {
		if !run.han {
			continue
		}
		syllables := syllablesOf(run.text)
		for i := range syllables {
			t.add(strings.Join(syllables[i:min(i+maxSyllables, len(syllables))], ""))
			t.add(initialsOf(syllables[i:min(i+maxInitials, len(syllables))]))
		}
	}
}

func initialsOf(syllables []string) string {
	var b strings.Builder
	for _, s := range syllables {
		b.WriteByte(s[0])
	}
	return b.String()
}

// pinyinOf returns the whole pinyin of a text in one word, and its initials.
func pinyinOf(text string) (full, initials string) {
	var syllables []string
	for _, run := range runsOf(text) {
		if run.han {
			syllables = append(syllables, syllablesOf(run.text)...)
		}
	}
	return strings.Join(syllables, ""), initialsOf(syllables)
}
