package timesvc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 10

// try asks the instance at addr.
func (c *Client) try(ctx context.Context, addr string) (string, error) {
	conn, err := c.opts.Dial(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		conn.SetDeadline(time.Unix(1, 0)) // long past: ends the reading
	})
	defer func() {
		if !stop() {
			<-cut
		}
	}()
	data, err := io.ReadAll(io.LimitReader(conn, maxAnswer+1))
	if text, bad := line(data); bad == nil {
		return text, nil // whole, however the connection then ended
	} else if err == nil {
		return "", bad
	}
	switch {
	case ctx.Err() != nil && len(data) == 0:
		return "", context.Cause(ctx)
	case ctx.Err() != nil:
		return "", fmt.Errorf("only %d bytes have come: %w", len(data), context.Cause(ctx))
	}
	return "", fmt.Errorf("the connection broke after %d bytes: %w", len(data), bare(err))
}

// bare is err without the address, which is said beside it.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// line returns the only line in data without its end. What it refuses came from
// something else than a time server, and could upset the reader's terminal.
func line(data []byte) (string, error) {
	switch {
	case len(data) == 0:
		return "", errors.New("the connection ended without an answer")
	case len(data) > maxAnswer:
		return "", fmt.Errorf("the answer is longer than %d bytes: this is no time server", maxAnswer)
	case !bytes.HasSuffix(data, []byte("\n")):
		return "", fmt.Errorf("the connection ended after %d bytes, before the end of the line", len(data))
	}
	text := strings.TrimSuffix(string(data[:len(data)-1]), "\r")
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", errors.New("the answer is not one line of text: this is no time server")
	}
	return text, nil
}
