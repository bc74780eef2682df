package audit

import "encoding/json"

// OCSFVersion is the version of the Open Cybersecurity Schema Framework that
// an export follows.
const OCSFVersion = "1.8.0"

// ocsfEvent is an event of any of the classes in use, with those of their
// attributes that we know something for. Its names are the schema's.
type ocsfEvent struct {
	ActivityID   int    `json:"activity_id"`
	ActivityName string `json:"activity_name"`
	CategoryUID  int    `json:"category_uid"`
	CategoryName string `json:"category_name"`
	ClassUID     int    `json:"class_uid"`
	ClassName    string `json:"class_name"`
	TypeUID      int    `json:"type_uid"`
	TypeName     string `json:"type_name"`

	Time       int64  `json:"time"`                 // milliseconds since 1970 UTC, as all times
	StartTime  int64  `json:"start_time,omitempty"` //
	Duration   int64  `json:"duration,omitempty"`   // milliseconds
	SeverityID int    `json:"severity_id"`
	Severity   string `json:"severity"`
	Message    string `json:"message"`

	StatusID     *int   `json:"status_id,omitempty"`
	Status       string `json:"status,omitempty"`
	StatusCode   string `json:"status_code,omitempty"`
	StatusDetail string `json:"status_detail,omitempty"`

	Metadata     ocsfMetadata      `json:"metadata"`
	Actor        *ocsfActor        `json:"actor,omitempty"`
	SrcEndpoint  *ocsfEndpoint     `json:"src_endpoint,omitempty"`
	DstEndpoint  *ocsfEndpoint     `json:"dst_endpoint,omitempty"`
	API          *ocsfAPI          `json:"api,omitempty"`
	HTTPRequest  *ocsfHTTPRequest  `json:"http_request,omitempty"`
	HTTPResponse *ocsfHTTPResponse `json:"http_response,omitempty"`
	Resources    []ocsfResource    `json:"resources,omitempty"`
	User         *ocsfUser         `json:"user,omitempty"` // whose account was changed
	App          *ocsfProduct      `json:"app,omitempty"`
	Device       *ocsfDevice       `json:"device,omitempty"` // of the profile host

	Unmapped map[string]json.RawMessage `json:"unmapped,omitempty"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	Product        ocsfProduct `json:"product"`
	UID            string      `json:"uid"`
	EventCode      string      `json:"event_code"`                // our type
	CorrelationUID string      `json:"correlation_uid,omitempty"` // the rotation, or else the run
	Profiles       []string    `json:"profiles,omitempty"`
	LogName        string      `json:"log_name"`
	LogVersion     string      `json:"log_version,omitempty"`
	Sequence       *int64      `json:"sequence,omitempty"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

type ocsfActor struct {
	AppName string    `json:"app_name"`
	User    *ocsfUser `json:"user,omitempty"`
}

type ocsfUser struct {
	Name                    string           `json:"name,omitempty"`
	UID                     string           `json:"uid,omitempty"`
	DisplayName             string           `json:"display_name,omitempty"`
	TypeID                  *int             `json:"type_id,omitempty"`
	Type                    string           `json:"type,omitempty"`
	Account                 *ocsfAccount     `json:"account,omitempty"`
	ProgrammaticCredentials []ocsfCredential `json:"programmatic_credentials,omitempty"`
}

type ocsfAccount struct {
	UID    string `json:"uid"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
}

type ocsfCredential struct {
	UID  string `json:"uid"`
	Type string `json:"type"`
}

type ocsfEndpoint struct {
	Hostname string `json:"hostname,omitempty"`
	IP       string `json:"ip,omitempty"`
	Port     int    `json:"port,omitempty"`
	SvcName  string `json:"svc_name,omitempty"`
}

type ocsfDevice struct {
	Hostname string `json:"hostname"`
	TypeID   int    `json:"type_id"`
	Type     string `json:"type"`
}

type ocsfAPI struct {
	Operation string        `json:"operation"`
	Service   ocsfService   `json:"service"`
	Request   *ocsfRequest  `json:"request,omitempty"`
	Response  *ocsfResponse `json:"response,omitempty"`
}

type ocsfService struct {
	Name string `json:"name"`
}

type ocsfRequest struct {
	UID string `json:"uid"`
}

type ocsfResponse struct {
	Code  int    `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
}

type ocsfHTTPRequest struct {
	Method string  `json:"http_method,omitempty"`
	URL    ocsfURL `json:"url"`
}

type ocsfURL struct {
	URLString string `json:"url_string"`
}

type ocsfHTTPResponse struct {
	Code    int   `json:"code"`
	Latency int64 `json:"latency,omitempty"` // milliseconds
}

type ocsfResource struct {
	Type string `json:"type"`
	UID  string `json:"uid,omitempty"`
	Name string `json:"name,omitempty"`
}
