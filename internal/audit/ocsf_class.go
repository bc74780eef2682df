package audit

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// class is an event class of OCSF.
type class struct {
	uid         int
	name        string
	categoryUID int
	category    string
}

// The classes in use. Base Event is what the schema offers for events that it
// has no class for.
var (
	baseEvent     = class{0, "Base Event", 0, "Uncategorized"}
	accountChange = class{3001, "Account Change", 3, "Identity & Access Management"}
	lifecycle     = class{6002, "Application Lifecycle", 6, "Application Activity"}
	apiActivity   = class{6003, "API Activity", 6, "Application Activity"}
)

// activity is what was done, by the class's list; 99 is what the list lacks.
type activity struct {
	id   int
	name string
}

// keyActivities are the events in the life of a key: Account Change. At Sinch
// an access key is the whole of an account (it has an id, a name and a secret
// of its own, and no user behind it), so creating and deleting a key is
// creating and deleting an account. It is enabled when its secret is in Vault.
var keyActivities = map[string]activity{
	RotationPlanned:   {99, "Plan Rotation"},
	RotationCreated:   {1, "Create"},
	RotationVerified:  {99, "Verify"},
	RotationPublished: {2, "Enable"},
	RotationFailed:    {99, "Fail Rotation"},
	KeySuperseded:     {99, "Supersede"},
	KeyRetired:        {6, "Delete"},
	KeyOrphanDeleted:  {6, "Delete"},
	KeyDrift:          {99, "Drift"},
}

// switchActivities are the stop switch: Application Lifecycle.
var switchActivities = map[string]activity{Pause: {7, "Disable"}, Resume: {6, "Enable"}}

// severity says how much it asks for somebody's attention.
type severity struct {
	id   int
	name string
}

var (
	informational = severity{1, "Informational"}
	low           = severity{2, "Low"}
	medium        = severity{3, "Medium"}
	high          = severity{4, "High"}
)

var severities = map[string]severity{
	RotationFailed: medium, KeyDrift: medium, GuardRefused: medium, Pause: medium,
	LeaseLost: low, AuditSpillReplayed: low, AuditPartitionDropped: medium, AuditRebased: high,
}

// is sets the class and the activity, and what follows from them.
func (o *ocsfEvent) is(c class, a activity) {
	o.ClassUID, o.ClassName, o.CategoryUID, o.CategoryName = c.uid, c.name, c.categoryUID, c.category
	o.ActivityID, o.ActivityName = a.id, a.name
	o.TypeUID, o.TypeName = c.uid*100+a.id, c.name+": "+a.name
}

func (o *ocsfEvent) rate(s severity) { o.SeverityID, o.Severity = s.id, s.name }

// classify finds the event's class, fills in what that class knows, and
// returns the names of the fields that need not be repeated. The host may be
// unknown.
func (o *ocsfEvent) classify(e Event, host string) (taken []string) {
	rated, ok := severities[e.Type]
	if !ok {
		rated = informational
	}
	o.rate(rated)
	o.Message = sentence(e)
	key, ofKey := keyActivities[e.Type]
	flip, ofSwitch := switchActivities[e.Type]
	switch {
	case e.Type == APICall && e.Op != "":
		return o.call(e, host)
	case ofKey && (e.Key != "" || e.Credential != "" || e.Project != ""):
		return o.account(e, key, host)
	case ofSwitch:
		o.is(lifecycle, flip)
		o.App = &o.Metadata.Product
		o.endsWell(true)
	default:
		o.is(baseEvent, activity{99, e.Type})
	}
	o.profile(host)
	return nil
}

// profile makes room for the actor and the host in classes that have none by
// themselves.
func (o *ocsfEvent) profile(host string) {
	o.Metadata.Profiles = []string{"host"}
	if host != "" {
		o.Device = &ocsfDevice{Hostname: host, Type: "Unknown"}
	}
}

// sentence is the event for people.
func sentence(e Event) string {
	words := []string{e.Type}
	if e.Type == APICall && e.Op != "" {
		words = []string{e.Op}
	}
	if e.Status != 0 {
		words = append(words, strconv.Itoa(e.Status))
	}
	if e.Outcome != "" {
		words = append(words, string(e.Outcome))
	}
	if e.Phase == Intent {
		words = append(words, "intended, no outcome on record")
	}
	if e.Phase == Resolved {
		words = append(words, "found out afterwards")
	}
	if e.Key != "" {
		words = append(words, "key "+e.Key)
	}
	if where := strings.Trim(e.Project+"/"+e.Credential, "/"); where != "" {
		words = append(words, "of "+where)
	}
	return strings.Join(words, " ")
}

// endsWell sets the status where there is no call whose outcome would be it.
func (o *ocsfEvent) endsWell(well bool) {
	if well {
		o.StatusID, o.Status = new(1), "Success"
	} else {
		o.StatusID, o.Status = new(2), "Failure"
	}
}

// account fills in an Account Change.
func (o *ocsfEvent) account(e Event, a activity, host string) (taken []string) {
	const service, other = 4, 99
	if host != "" {
		o.SrcEndpoint = &ocsfEndpoint{Hostname: host, SvcName: productName}
	}
	o.is(accountChange, a)
	o.endsWell(e.Type != RotationFailed)
	o.StatusDetail = e.Error
	o.User = &ocsfUser{Name: e.Credential, UID: e.Key, DisplayName: e.DisplayName, TypeID: new(service), Type: "Service"}
	if e.Key != "" {
		o.User.ProgrammaticCredentials = []ocsfCredential{{UID: e.Key, Type: keyResource}}
	}
	if e.Project != "" {
		o.User.Account = &ocsfAccount{UID: e.Project, TypeID: other, Type: projectResource}
	}
	return []string{"project", "credential", "key", "display_name", "error"}
}

// Types of what is acted upon.
const (
	projectResource    = "Sinch Project"
	credentialResource = "Credential"
	keyResource        = "Sinch Access Key"
	vaultResource      = "Vault Secret"
)

// call fills in an API Activity.
func (o *ocsfEvent) call(e Event, host string) (taken []string) {
	service := "sinch"
	if strings.HasPrefix(e.Op, "vault.") {
		service = "vault"
	}
	o.is(apiActivity, callActivity(e.Op))
	o.outcome(e)
	o.SrcEndpoint = &ocsfEndpoint{Hostname: host, SvcName: productName}
	o.API = &ocsfAPI{Operation: e.Op, Service: ocsfService{service}}
	if e.RequestID != "" {
		o.API.Request = &ocsfRequest{e.RequestID}
	}
	if e.Status != 0 || e.Error != "" {
		o.API.Response = &ocsfResponse{e.Status, e.Error}
	}
	o.Duration = e.DurationUS / 1000
	if e.DurationUS > 0 {
		o.StartTime = (e.TimeUS - e.DurationUS) / 1000
	}
	taken = []string{"project", "credential", "key", "display_name", "vault_path", "op", "url", "status", "outcome", "error", "request_id"}
	if e.URL != "" {
		o.DstEndpoint = endpointOf(e.URL, service)
		o.HTTPRequest = &ocsfHTTPRequest{URL: ocsfURL{e.URL}}
		if slices.Contains(httpMethods, e.Method) {
			o.HTTPRequest.Method, taken = e.Method, append(taken, "method")
		}
	}
	if e.Status != 0 {
		o.HTTPResponse = &ocsfHTTPResponse{e.Status, o.Duration}
	}
	o.Resources = resources(e)
	return taken
}

// httpMethods are those that OCSF knows: Vault has a LIST, which is not one.
var httpMethods = []string{
	http.MethodConnect, http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions,
	http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodTrace,
}

// outcome sets the status as the call ended. A call without an answer, and an
// intent without an outcome, ended nobody knows how.
func (o *ocsfEvent) outcome(e Event) {
	switch e.Outcome {
	case OK:
		o.endsWell(true)
	case Error:
		o.endsWell(false)
	default:
		o.StatusID, o.Status = new(0), "Unknown"
	}
	if e.Outcome != OK {
		o.rate(low)
	}
	if e.Status != 0 {
		o.StatusCode = strconv.Itoa(e.Status)
	}
	o.StatusDetail = e.Error
}

// callActivity reads what an operation does off its last word.
func callActivity(op string) activity {
	service, verb, _ := strings.Cut(op, ".")
	switch {
	case verb == "create":
		return activity{1, "Create"}
	case verb == "list", verb == "get", verb == "read", service == "probe":
		return activity{2, "Read"}
	case verb == "update", verb == "write", verb == "metadata":
		return activity{3, "Update"}
	case verb == "delete", verb == "destroy":
		return activity{4, "Delete"}
	}
	return activity{99, op}
}

// endpointOf is where a call went; where the URL does not say, the service.
func endpointOf(link, service string) *ocsfEndpoint {
	end := &ocsfEndpoint{SvcName: service}
	u, err := url.Parse(link)
	if err != nil {
		return end
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		end.IP = ip.String()
	} else {
		end.Hostname = u.Hostname()
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		end.Port = int(port)
	}
	return end
}

// resources are what the call was about.
func resources(e Event) []ocsfResource {
	var all []ocsfResource
	if e.Project != "" {
		all = append(all, ocsfResource{Type: projectResource, UID: e.Project})
	}
	if e.Credential != "" {
		all = append(all, ocsfResource{Type: credentialResource, Name: e.Credential})
	}
	if e.Key != "" || e.DisplayName != "" {
		all = append(all, ocsfResource{Type: keyResource, UID: e.Key, Name: e.DisplayName})
	}
	if e.VaultPath != "" {
		all = append(all, ocsfResource{Type: vaultResource, Name: e.VaultPath})
	}
	return all
}
