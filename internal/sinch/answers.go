package sinch

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"rotator/internal/secret"
)

// keyJSON is Sinch's AccessKey.
type keyJSON struct {
	ID          string `json:"accessKeyId"`
	DisplayName string `json:"displayName"`
	ProjectID   string `json:"projectId"`
	CreateTime  string `json:"createTime"`
	UpdateTime  string `json:"updateTime"`
}

// key checks what an answer says of a key: without an id or an age it cannot
// be judged, and one of another project must not be touched.
func (j keyJSON) key(project string) (AccessKey, error) {
	if !validID(j.ID) {
		return AccessKey{}, errors.New("an access key has no usable id")
	}
	if j.ProjectID != "" && j.ProjectID != project {
		return AccessKey{}, fmt.Errorf("access key %q belongs to another project", j.ID)
	}
	created, err := time.Parse(time.RFC3339, j.CreateTime)
	if err != nil {
		return AccessKey{}, fmt.Errorf("access key %q has no readable createTime", j.ID)
	}
	updated, err := optionalTime(j.UpdateTime)
	if err != nil {
		return AccessKey{}, fmt.Errorf("access key %q has no readable updateTime", j.ID)
	}
	return AccessKey{ID: j.ID, DisplayName: j.DisplayName, ProjectID: project, CreatedAt: created.UTC(), UpdatedAt: updated}, nil
}

func optionalTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err
}

// object decodes body, which must be a JSON object without "error": a gateway
// may answer 200 and mean something else, and that is not an empty list.
// Its errors do not quote the body.
func object(body []byte, into any) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return errors.New("answer is not a JSON object")
	}
	if _, ok := fields["error"]; ok {
		return errors.New("answer is an error with a status of success")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errors.New("answer has fields of another type than documented")
	}
	return nil
}

func parseKey(body []byte, project string) (AccessKey, error) {
	var j keyJSON
	if err := object(body, &j); err != nil {
		return AccessKey{}, err
	}
	return j.key(project)
}

func parseKeys(body []byte, project string) (keys []AccessKey, next string, err error) {
	var b struct {
		Keys []keyJSON `json:"accessKeys"`
		Next string    `json:"nextPageToken"`
	}
	if err := object(body, &b); err != nil {
		return nil, "", err
	}
	for _, j := range b.Keys {
		k, err := j.key(project)
		if err != nil {
			return nil, "", err
		}
		keys = append(keys, k)
	}
	return keys, b.Next, nil
}

func parseCreated(body []byte, project string) (AccessKey, secret.Value, error) {
	var b struct {
		Key    keyJSON `json:"accessKey"`
		Secret string  `json:"secret"`
	}
	if err := object(body, &b); err != nil {
		return AccessKey{}, secret.Value{}, err
	}
	if b.Secret == "" {
		return AccessKey{}, secret.Value{}, errors.New("answer holds no secret")
	}
	k, err := b.Key.key(project)
	if err != nil {
		return AccessKey{}, secret.Value{}, err
	}
	return k, secret.New(b.Secret), nil
}

func parseSubprojects(body []byte, parent string) (subs []Subproject, next string, err error) {
	var b struct {
		Subprojects []struct {
			ID          string            `json:"subprojectId"`
			DisplayName string            `json:"displayName"`
			ParentID    string            `json:"parentProjectId"`
			Labels      map[string]string `json:"labels"`
			CreateTime  string            `json:"createTime"`
			Deleted     bool              `json:"deleted"`
		} `json:"subprojects"`
		Next string `json:"nextPageToken"`
	}
	if err := object(body, &b); err != nil {
		return nil, "", err
	}
	for _, j := range b.Subprojects { // an id of no use is the caller's to refuse: the others are fine
		if j.ParentID != "" && j.ParentID != parent {
			return nil, "", fmt.Errorf("subproject %q belongs to another parent", j.ID)
		}
		created, err := optionalTime(j.CreateTime)
		if err != nil {
			return nil, "", fmt.Errorf("subproject %q has no readable createTime", j.ID)
		}
		subs = append(subs, Subproject{
			ID: j.ID, DisplayName: j.DisplayName, ParentID: parent,
			Labels: j.Labels, CreatedAt: created, Deleted: j.Deleted,
		})
	}
	return subs, b.Next, nil
}
