package load

import (
	"fmt"

	"ukdump/internal/advice"
)

// NeedsReload is a problem that the next load solves.
func NeedsReload(format string, a ...any) error {
	return advice.With(fmt.Errorf(format, a...), "Run kdumpctl reload.")
}
