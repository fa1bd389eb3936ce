// Package journal writes entries to systemd's journal by its native protocol,
// see https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ and systemd.journal-fields(7).
package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"time"
)

// Socket is the path of journald's socket.
const Socket = "/run/systemd/journal/socket"

// Field is one field of an entry, such as MESSAGE. Its name has up to 64 capital
// letters, digits and underscores and begins with a letter; the value is any
// text.
type Field struct{ Name, Value string }

// Send hands one entry to the journald at socket. All fields together must fit into a
// datagram, which is some 200 KiB (net.core.wmem_default, socket(7)). An error means
// that journald did not get the entry: journald does not run or does not take it
// within the limit, or the name of a field is invalid.
func Send(socket string, fields []Field, limit time.Duration) error {
	entry, err := encode(fields)
	if err != nil {
		return err
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(limit))
	if _, err := conn.Write(entry); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// encode returns the datagram of an entry: NAME=VALUE lines, or for values of
// several lines the name, a newline, the length as 64 bits and the value.
func encode(fields []Field) ([]byte, error) {
	var b bytes.Buffer
	for _, f := range fields {
		if !valid(f.Name) {
			return nil, fmt.Errorf("journal: %q is not the name of a field", f.Name)
		}
		b.WriteString(f.Name)
		if strings.Contains(f.Value, "\n") {
			b.WriteByte('\n')
			b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(f.Value))))
		} else {
			b.WriteByte('=')
		}
		b.WriteString(f.Value)
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

func valid(name string) bool {
	return name != "" && len(name) <= 64 && name[0] >= 'A' && name[0] <= 'Z' &&
		strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}
