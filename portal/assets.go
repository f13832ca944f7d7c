package portal

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed assets/dist
var ownAssets embed.FS

// AssetsPath is where [Portal.Assets] is mounted.
const AssetsPath = "/assets/"

// assets are the compiled files and the hash of all of them, which is part of their
// address: a new build has new addresses, so that browsers may keep files for ever.
type assets struct {
	hash  string
	files map[string]asset
}

type asset struct {
	plain, zipped []byte
	kind          string
}

var assetKinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}

func loadAssets() (*assets, error) {
	a := &assets{files: map[string]asset{}}
	h := sha256.New()
	err := fs.WalkDir(ownAssets, "assets/dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := ownAssets.ReadFile(name)
		if err != nil {
			return err
		}
		base := path.Base(name)
		kind, ok := assetKinds[path.Ext(base)]
		if !ok {
			return fmt.Errorf("asset %s has no known media type", base)
		}
		fmt.Fprintf(h, "%s %d\n", base, len(data))
		h.Write(data)
		zipped, err := zip(data)
		a.files[base] = asset{plain: data, zipped: zipped, kind: kind}
		return err
	})
	a.hash = hex.EncodeToString(h.Sum(nil))[:16]
	return a, err
}

func zip(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// url returns the address of a file; a template that names a missing one does not render.
func (a *assets) url(name string) (string, error) {
	if _, ok := a.files[name]; !ok {
		return "", fmt.Errorf("there is no asset %q", name)
	}
	return AssetsPath + a.hash + "/" + name, nil
}

// Assets serves the compiled files below [AssetsPath]. Files of this build may be kept
// for ever. While a division's boxes are upgraded one by one, a page of one build may ask
// another box for its files: it gets this build's, not to be kept.
func (p *Portal) Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		hash, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, AssetsPath), "/")
		file, ok := p.assets.files[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		header := w.Header()
		header.Set("Content-Type", file.kind)
		header.Set("Cache-Control", "no-cache")
		if hash == p.assets.hash {
			header.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		header.Set("Vary", "Accept-Encoding")
		body := file.plain
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			header.Set("Content-Encoding", "gzip")
			body = file.zipped
		}
		header.Set("Content-Length", fmt.Sprint(len(body)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(body) // The reader left: nobody to tell.
		}
	})
}

// contentPolicy lets a page load from this host alone and run no inline script or style
// (a stored script in a name or a file stays text); nobody may frame it.
const contentPolicy = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; font-src 'none'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// SecurityHeaders sets the headers that every answer carries, before next runs; next may
// tighten them (an uploaded file is served with a sandbox of its own).
func (p *Portal) SecurityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}
