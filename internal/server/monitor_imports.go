package server

import (
	"weir/internal/account"
	"weir/internal/conf"
	"weir/internal/monitor"
)

var responseTypes = map[conf.Response]string{
	conf.SingleResponse: "Singleton", conf.StreamResponse: "Streamed", conf.ChunkedResponse: "Chunked",
}

func exportType(service bool) string {
	if service {
		return "service"
	}
	return "stream"
}

func describeMappings(a *account.Account) map[string][]monitor.MappingDestination {
	mappings := map[string][]monitor.MappingDestination{}
	for _, m := range a.Mappings() {
		for _, d := range m.Destinations {
			mappings[m.Subject] = append(mappings[m.Subject], monitor.MappingDestination{Subject: d.Subject, Weight: d.Weight, Cluster: d.Cluster})
		}
	}
	return mappings
}

func describeExports(a *account.Account) (list []monitor.Export) {
	for _, e := range a.Exports() {
		list = append(list, monitor.Export{
			Subject: e.Subject, Type: exportType(e.Service), ResponseType: responseTypes[e.Response], ApprovedAccounts: e.Accounts,
		})
	}
	return list
}

func describeImports(a *account.Account) (list []monitor.Import) {
	for _, im := range a.StreamImports() {
		list = append(list, monitor.Import{
			Subject: im.Mapping.From(), Account: im.From.Name(), LocalSubject: im.Mapping.To(), Type: exportType(false),
		})
	}
	for _, im := range a.ServiceImports() {
		local := im.Mapping.From()
		list = append(list, monitor.Import{
			Subject: im.Mapping.To(), Account: im.From.Name(), To: local, LocalSubject: local, Type: exportType(true), Share: im.Share,
		})
	}
	return list
}
