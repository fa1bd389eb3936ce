package state

import "time"

// VerifyResult is the result of the last kdumpctl verify.
type VerifyResult struct {
	Time     time.Time `json:"time"`
	Running  string    `json:"running_release"` // kernel whose crash it is about, as uname -r prints it
	Image    string    `json:"image,omitempty"` // where the image was read
	ImageID  string    `json:"image_sha256,omitempty"`
	KernelID string    `json:"kernel_sha256,omitempty"` // of the capture kernel that was loaded then
	Cmdline  string    `json:"cmdline,omitempty"`       // of the same, without the words of a forecast
	Keys     []string  `json:"volume_keys,omitempty"`   // that it had, by their descriptions
	Problems []string  `json:"problems,omitempty"`
	// Served has the time of the last run that could write to a target at a server, by
	// the target's name.
	Served map[string]time.Time `json:"served,omitempty"`
}

const verifiedFile = "verified.json"

// SaveVerified keeps a result for status.
func (st Store) SaveVerified(r *VerifyResult) error { return writeJSON(st.file(verifiedFile), r) }

// Verified returns the last result. The error is fs.ErrNotExist if verify was not
// run.
func (st Store) Verified() (*VerifyResult, error) {
	r := new(VerifyResult)
	if err := readJSON(st.file(verifiedFile), maxSetFile, r); err != nil {
		return nil, err
	}
	return r, nil
}
