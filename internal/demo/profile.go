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
	socket, _ := n.Config.AdminSocket()
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("http://node/node/profile?seconds=%d", max(1, int(length.Seconds()))), nil)
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
