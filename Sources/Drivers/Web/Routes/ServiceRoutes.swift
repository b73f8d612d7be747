import BrambleAPI

/// Where a service is moved to.
struct MoveRequest: Codable, Sendable {
    /// The best other node without it.
    var to: String?
}

extension RouteTable {
    private static let done = "What was done"
    /// A service may take its time to stop and to start, a mirror to run.
    private static let patience: Duration = .seconds(600)

    static let services: [Route] =
        [
            Route(
                "GET", "/v1/services", "The services, who holds each, and with which guarantee",
                gives: [ServiceInfo].self, about: "The services"
            ) { call in try await call.web.service.services() },
            Route(
                "POST", "/v1/services/{name}/move", "Move a service to another node, without a failure",
                takes: MoveRequest.self, gives: ServiceChange.self, about: done
            ) { call, body in
                try await call.web.service.order(.move, service: call.parameter("name"), to: body.to)
            }.waiting(patience),
            Route(
                "GET", "/v1/balancers", "The balancers, and which of their backends get something",
                gives: [BalancerInfo].self, about: "The balancers"
            ) { call in try await call.web.service.balancers() },
            Route(
                "GET", "/v1/volumes", "The volumes, their bricks, and where they are mounted",
                gives: [VolumeInfo].self, about: "The volumes"
            ) { call in try await call.web.service.volumes() },
            Route(
                "POST", "/v1/volumes",
                "Make a volume. Every node that would have a brick is asked first; answers when it is mounted",
                takes: VolumeRequest.self, gives: VolumeInfo.self, about: "How it is then"
            ) { call, body in try await call.web.service.createVolume(body) }.waiting(patience),
            Route(
                "DELETE", "/v1/volumes/{name}",
                "Unmount and delete a volume; its files stay in the directories of its bricks", gives: NodeChange.self,
                about: done
            ) { call in try await call.web.service.deleteVolume(call.parameter("name")) }.waiting(patience),
            Route(
                "POST", "/v1/volumes/{name}/bricks", "Give nodes a brick of a volume, take theirs, or replace one",
                takes: VolumeBricksRequest.self, gives: NodeChange.self, about: done
            ) { call, body in
                try await call.web.service.changeBricks(of: call.parameter("name"), body)
            }.waiting(patience),
            Route(
                "POST", "/v1/volumes/{name}/heal", "Push GlusterFS to heal now", gives: NodeChange.self, about: done
            ) { call in try await call.web.service.healVolume(call.parameter("name")) }.waiting(patience),
            Route(
                "GET", "/v1/mirrors", "The mirrors, and how far behind each is", gives: [MirrorInfo].self,
                about: "The mirrors"
            ) { call in try await call.web.service.mirrors() },
            Route(
                "POST", "/v1/mirrors/{name}/run", "Run a mirror now; answers when it is done", gives: MirrorInfo.self,
                about: "How it is then"
            ) { call in try await call.web.service.runMirror(call.parameter("name")) }.waiting(patience),
            Route(
                "GET", "/v1/parked", "Files that were set aside because they differed on a node that came back",
                query: [Route.Parameter(name: "mirror", about: "Only this mirror's", schema: .text(choices: []))],
                answers: [.json(.of([ParkedFile].self), about: "The files, newest first")]
            ) { call in .json(try await call.web.service.parkedFiles(of: call.query("mirror"))) },
            Route(
                "POST", "/v1/parked/{id}/restore",
                "Put a parked file back to its place; what is there now is parked instead", gives: NodeChange.self,
                about: done
            ) { call in try await call.web.service.restoreParkedFile(call.parameter("id")) },
        ] + [ServiceAction.start, .stop, .drill, .takeOver].map(action) + NodeDuty.allCases.map(duty)

    private static func action(_ action: ServiceAction) -> Route {
        let summary =
            switch action {
            case .start: "Let a service run"
            case .stop: "Stop a service; it stays stopped"
            case .takeOver:
                "Start a service on this node although it cannot tell that the other of two is off: whoever asks vouches for it"
            case .drill, .move: "Rehearse the failure of a service's node, and measure the gap that a client sees"
            }
        return Route(
            "POST", "/v1/services/{name}/\(action.rawValue)", summary, gives: ServiceChange.self, about: done
        ) { call in try await call.web.service.order(action, service: call.parameter("name"), to: nil) }
        .waiting(patience)
    }

    private static func duty(_ duty: NodeDuty) -> Route {
        let summary =
            switch duty {
            case .hold: "Let a node run nothing, also after a restart, until it is resumed"
            case .resume: "Let a node run services again"
            case .drain: "Let a node hand over what others can take, and take nothing new until it is resumed"
            }
        return Route(
            "POST", "/v1/nodes/{name}/\(duty.rawValue)", summary, gives: NodeChange.self, about: done
        ) { call in try await call.web.service.order(duty, node: call.parameter("name")) }.waiting(patience)
    }
}
