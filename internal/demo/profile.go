package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Profile writes a CPU profile of the node in the time that follows, whole seconds of it.
func (n *Node) Profile(ctx context.Context, length time.Duration, file string) error {
	return n.profile(ctx, fmt.Sprintf("kind=cpu&seconds=%d", max(1, int(length.Seconds()))), file)
}

// HeapProfile writes what holds the node's memory, after a collection.
func (n *Node) HeapProfile(ctx context.Context, file string) error {
	return n.profile(ctx, "kind=heap", file)
}

func (n *Node) profile(ctx context.Context, query, file string) error {
	socket, _ := n.Config.AdminSocket()
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/node/profile?"+query, nil)
	if err != nil {
		return err
	}
	response, err := c.Do(r)
	if err != nil {
		return fmt.Errorf("profile node %s: %w", n.Name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("profile node %s: %s", n.Name, response.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	if _, err := io.Copy(f, response.Body); err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	return f.Close()
}
