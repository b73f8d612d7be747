/// Everything a person can ask of a node. The daemon implements it; the web server and, through HTTP, the CLI and the
/// workloads use it. Errors are `APIError`s, ready to be shown.
public protocol BrambleService: Sendable {
    func nodes() async -> [NodeInfo]
    func status() async -> ClusterStatus
    func edges() async -> [WatchEdge]
    /// Events with a greater ID, oldest first; all that are kept without one.
    func events(since id: UInt64?) async -> [Event]
    /// Events from now on. A reader that falls 1,000 behind misses the oldest.
    func eventStream() async -> AsyncStream<Event>
    func why(_ name: String) async throws(APIError) -> Explanation
    func waiting() async -> [WaitingMachine]
    /// Gives a waiting machine the cluster key, or approves it. `name` is its name, ID or code.
    func add(_ name: String) async throws(APIError) -> NodeChange
    func remove(_ name: String) async throws(APIError) -> NodeChange
    func label(_ name: String, _ change: LabelRequest) async throws(APIError) -> NodeChange
    /// Looks for a node at a host name or address; adds it where the operator's rules allow it.
    func probe(_ host: String) async throws(APIError) -> NodeChange
    func doctor() async -> [DoctorCheck]
    func version() async -> VersionInfo
    /// Prometheus text exposition format 0.0.4.
    func metrics() async -> String

    // What should be.

    /// Adds and changes what the document names, on every node.
    func apply(_ request: ApplyRequest) async throws(APIError) -> ApplyAnswer
    func export() async throws(APIError) -> DesiredDocument

    // The database. Every method says no (`unavailable`) on a machine that is in no cluster.

    /// Carries out the statements in one transaction: all or none.
    func execute(_ request: SQLRequest) async throws(APIError) -> SQLAnswer
    /// Where `execute` does its work: a task that prefers this executor saves changes of thread. Nil where that gains nothing.
    func executor(forReading: Bool) -> (any TaskExecutor)?
    /// Changes of one table from now on, or since a token. A reader that falls behind is told to `resync`, and the stream
    /// goes on; it ends when the node stops, or the table can no longer be watched.
    func watch(_ table: String, since token: String?) async throws(APIError) -> AsyncStream<WatchMessage>
    func database() async throws(APIError) -> DatabaseStatus
    /// By name; Bramble's own last.
    func tables() async throws(APIError) -> [TableInfo]
    /// Newest first.
    func conflicts(limit: Int) async throws(APIError) -> [Conflict]
    /// Takes what a node wrote with a wrong clock as it is: on every node, and for good.
    func releaseWrites(_ request: ReleaseRequest) async throws(APIError) -> DatabaseChange
    /// Writes a consistent copy of the whole database beside it. The caller deletes the file.
    func backup() async throws(APIError) -> BackupFile
    /// A path on the database's disk where a file of this size may be written; refused when there is no room.
    /// The caller writes it, hands it to `restore` or deletes it. What a crash leaves is deleted at the next start.
    func placeForUpload(bytes: Int64) async throws(APIError) -> String
    /// Replaces the database of every node by this backup, in a new epoch. Takes the file over, also when it refuses.
    func restore(from path: String) async throws(APIError) -> DatabaseChange

    // Services and mirrors. What they should be is said with `apply`.

    /// By name.
    func services() async throws(APIError) -> [ServiceInfo]
    /// Answers when it is done, or why it is not. `node`: where to, for a move; the best other one without it.
    func order(_ action: ServiceAction, service name: String, to node: String?) async throws(APIError) -> ServiceChange
    func order(_ duty: NodeDuty, node name: String) async throws(APIError) -> NodeChange
    func mirrors() async throws(APIError) -> [MirrorInfo]
    /// By name; as this node carries them out.
    func balancers() async throws(APIError) -> [BalancerInfo]
    /// Runs a mirror now; answers when it is done.
    func runMirror(_ name: String) async throws(APIError) -> MirrorInfo
    /// Newest first; of one mirror or of all.
    func parkedFiles(of mirror: String?) async throws(APIError) -> [ParkedFile]
    /// Puts a parked file back to its place on the node that counts; what was there is parked instead.
    func restoreParkedFile(_ id: String) async throws(APIError) -> NodeChange

    // Volumes.

    /// By name; as the cluster carries them out.
    func volumes() async throws(APIError) -> [VolumeInfo]
    /// Asks every node whether it can be, and answers when it is mounted. Refused, nothing is begun.
    func createVolume(_ request: VolumeRequest) async throws(APIError) -> VolumeInfo
    /// Its files stay in the directories of its bricks. Answers when it is gone.
    func deleteVolume(_ name: String) async throws(APIError) -> NodeChange
    func changeBricks(of volume: String, _ request: VolumeBricksRequest) async throws(APIError) -> NodeChange
    /// Pushes GlusterFS to heal now what it would heal by itself.
    func healVolume(_ name: String) async throws(APIError) -> NodeChange

    // Clocks.

    /// Asks every node that can be reached. With a limit it waits until all clocks are within it, errors included, and is
    /// refused when they are not in time.
    func clocks(within limit: Double?, wait: Duration) async throws(APIError) -> [ClockInfo]
    func keepClocks(_ request: ClockRequest) async throws(APIError) -> NodeChange

    // Locks.

    func locks() async throws(APIError) -> [LockInfo]
    /// Wants a lock for as long as the stream is held. Nil waits for ever.
    func hold(lock name: String, wait: Duration?) async throws(APIError) -> AsyncStream<LockNews>
    /// What it protected has ended.
    func release(lock name: String, epoch: UInt64) async throws(APIError) -> LockInfo

    /// True when this is the password of this user. Takes as long for a user who does not exist.
    func authenticate(user: String, password: String) async -> Bool
    /// The note says why fewer nodes than asked for have it yet; empty when it is as safe as a write should be.
    func setPassword(user: String, password: String) async throws(APIError) -> String
    /// The token's name, when its secret is known.
    func authenticate(token: String) async -> String?
    func tokens() async -> [TokenInfo]
    func createToken(_ name: String) async throws(APIError) -> NewToken
    /// A note like that of `setPassword`.
    func revokeToken(_ name: String) async throws(APIError) -> String
}

extension BrambleService {
    public func executor(forReading: Bool) -> (any TaskExecutor)? { nil }
}
