package import Primitives

/// What can be held by one node at a time: a service, a lock of an operator's own, a role of the cluster itself.
package struct LeaseName: Hashable, Comparable, Sendable, CustomStringConvertible {
    package enum Kind: UInt8, CaseIterable, Sendable, Comparable {
        case service = 1
        /// `bramble lock NAME`.
        case lock = 2
        /// A job that the cluster gives to one of its nodes, such as serving the time.
        case role = 3

        package static func < (left: Kind, right: Kind) -> Bool { left.rawValue < right.rawValue }
    }
    package let kind: Kind
    package let name: ServiceName

    package init(_ kind: Kind, _ name: ServiceName) {
        self.kind = kind
        self.name = name
    }
    package static func service(_ name: ServiceName) -> LeaseName { LeaseName(.service, name) }
    package static func lock(_ name: ServiceName) -> LeaseName { LeaseName(.lock, name) }

    package var description: String {
        switch kind {
        case .service: name.description
        case .lock: "lock \(name)"
        case .role: "role \(name)"
        }
    }
    package static func < (left: LeaseName, right: LeaseName) -> Bool {
        left.kind != right.kind ? left.kind < right.kind : left.name < right.name
    }
}
