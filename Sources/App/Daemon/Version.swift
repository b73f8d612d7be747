/// What this executable is. `deploy/` and the man page read it from `bramble version`.
package enum Version {
    package static let current = "0.1.0"
    /// The newest protocol between nodes that it speaks: docs/protocol/.
    package static let protocolVersion = 1
}
