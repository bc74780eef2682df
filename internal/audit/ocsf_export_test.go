package audit

import "encoding/json"

// MapOCSF is the line that an OCSF export has for a record.
func MapOCSF(r Record) ([]byte, error) {
	if err := json.Unmarshal(r.Body, &r.Event); err != nil {
		return nil, err
	}
	o, err := (&mapper{}).event(r)
	if err != nil {
		return nil, err
	}
	return encode(o)
}
