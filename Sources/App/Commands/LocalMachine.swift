/// What the commands need of the machine they run on and may not know how to do: the daemon's part, filled in by `main`.
package struct LocalMachine: Sendable {
    package struct InitResult: Equatable, Sendable {
        /// The user the first password belongs to.
        package var user: String
        /// Shown once and stored only as a hash.
        package var password: String
        /// The file that makes another machine a member.
        package var keyPath: String

        package init(user: String, password: String, keyPath: String) {
            self.user = user
            self.password = password
            self.keyPath = keyPath
        }
    }

    /// This executable's version, like "0.1.0".
    package var version: String
    /// The newest protocol it speaks.
    package var protocolVersion: Int
    /// Makes a new cluster's key. Fails, as an `OperatorError`, where there is one already.
    package var initialise: @Sendable (_ dataDirectory: String, _ cluster: String) throws -> InitResult
    /// Runs the daemon until it is told to stop; returns the exit code. Takes care of the configuration file itself.
    package var start: @Sendable (StartOptions) async throws -> Int32
    /// The same for a witness.
    package var witness: @Sendable (StartOptions) async throws -> Int32

    package init(
        version: String, protocolVersion: Int,
        initialise: @escaping @Sendable (_ dataDirectory: String, _ cluster: String) throws -> InitResult,
        start: @escaping @Sendable (StartOptions) async throws -> Int32,
        witness: @escaping @Sendable (StartOptions) async throws -> Int32
    ) {
        self.version = version
        self.protocolVersion = protocolVersion
        self.initialise = initialise
        self.start = start
        self.witness = witness
    }
}
