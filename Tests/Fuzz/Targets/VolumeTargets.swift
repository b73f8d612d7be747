import Engines
import Primitives
import Services
import Volumes

extension FuzzTarget {
    /// How another node's part in the volumes stands, and its questions.
    static let volumeMessage = FuzzTarget("volumeMessage") {
        let name = ServiceName("shared")!
        let node = NodeName("n1")!
        var report = VolumeReport()
        report.bricks = [BrickReport(volume: name, path: "/data/b", state: .refused, trouble: "it is not empty")]
        report.mounts = [MountReport(volume: name, isMounted: true)]
        var standing = VolumeStanding(name: name, state: .degraded)
        standing.bricks = [BrickPlace(node, "/data/b")]
        report.standings = [standing]
        var volume = Volume(name: name, layout: .disperse(redundancy: 1, bricks: 3), path: "/data/b")
        volume.nodes = [node]
        return [
            VolumeMessage.report(report).encoded, VolumeMessage.question(number: 1, row: volume.row).encoded,
            VolumeMessage.answer(number: 1, trouble: "no FUSE").encoded,
        ]
    } check: { bytes in
        guard let message = try? VolumeMessage(encoded: bytes) else { return nil }
        guard let again = try? VolumeMessage(encoded: message.encoded) else { return "what was read cannot be written" }
        return again == message ? nil : "written and read it is another one"
    }

    /// What `gluster --xml` prints, however deep or torn.
    static let glusterAnswer = FuzzTarget("glusterAnswer") {
        [
            """
            <?xml version="1.0"?><cliOutput><opRet>0</opRet><opErrno>0</opErrno><opErrstr/><peerStatus><peer><hostname>n2</hostname>
            <hostnames><hostname>n2</hostname></hostnames><connected>1</connected><state>3</state></peer></peerStatus></cliOutput>
            """,
            "<cliOutput><opRet>-1</opRet><opErrno>30800</opErrno><opErrstr>Host n9 is not in 'Peer in Cluster' state</opErrstr></cliOutput>",
            "<cliOutput><opRet>0</opRet><volInfo><volumes><volume><name>v</name><status>1</status><bricks><brick>n1:/b<name>n1:/b</name></brick></bricks></volume></volumes></volInfo></cliOutput>",
        ].map { Array($0.utf8) }
    } check: { bytes in
        guard let answer = GlusterAnswer(bytes) else { return nil }
        _ = (answer.peers, answer.volumes, answer.task)
        return answer.refusal == "" ? "a refusal without words" : nil
    }
}
