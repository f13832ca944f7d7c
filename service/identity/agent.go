package identity

import (
	"regexp"
	"strings"
)

// browsers and systems as they name themselves in a User-Agent, the more particular
// first: most of them also claim to be the ones below.
var (
	browsers = regexp.MustCompile(`(MicroMessenger|Edg|OPR|Firefox|(?:Headless)?Chrome|Version)/(\d+)`)
	systems  = []struct{ mark, name string }{{"HarmonyOS", "HarmonyOS"}, {"OpenHarmony", "HarmonyOS"}, {"iPhone", "iOS"}, {"iPad", "iPadOS"},
		{"Android", "Android"}, {"Windows", "Windows"}, {"Mac OS", "macOS"}, {"Linux", "Linux"}}
	browserNames = map[string]string{"MicroMessenger": "WeChat", "Edg": "Edge", "OPR": "Opera", "HeadlessChrome": "Chrome", "Version": "Safari"}
)

// Device is what a person recognises of the browser, "Chrome 148, Windows"; what is
// unknown stays as the browser sent it.
func (s Session) Device() string {
	var best []string
	for _, m := range browsers.FindAllStringSubmatch(s.Agent, -1) {
		if best == nil || rank(m[1]) < rank(best[1]) {
			best = m
		}
	}
	if best == nil {
		return s.Agent
	}
	name := best[1]
	if known, ok := browserNames[name]; ok {
		name = known
	}
	out := name + " " + best[2]
	for _, system := range systems {
		if strings.Contains(s.Agent, system.mark) {
			return out + ", " + system.name
		}
	}
	return out
}

// rank orders the names that one User-Agent holds: the least is the browser's own.
func rank(name string) int {
	switch name {
	case "MicroMessenger", "Edg", "OPR", "Firefox":
		return 0
	case "Chrome", "HeadlessChrome":
		return 1
	}
	return 2 // "Version" is Safari's, and old Android's beside Chrome's.
}
