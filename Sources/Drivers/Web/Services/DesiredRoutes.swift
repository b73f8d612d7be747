import BrambleAPI

extension RouteTable {
    static let desired: [Route] = [
        Route(
            "POST", "/v1/apply",
            "Add and change what a YAML document names: services, mirrors, volumes, balancers, fences, the reach list. All of it "
                + "or, where something is wrong, nothing",
            takes: ApplyRequest.self, gives: ApplyAnswer.self, about: "What changed, or would change"
        ) { call, body in try await call.web.service.apply(body) },
        Route(
            "GET", "/v1/export", "Everything that was applied, as a document that can be applied again",
            gives: DesiredDocument.self, about: "The document"
        ) { call in try await call.web.service.export() },
    ]
}
