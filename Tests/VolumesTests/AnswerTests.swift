import Engines
import Testing
import Volumes

/// What GlusterFS 10.3 of Debian 12 printed.
@Suite("answers of gluster")
struct AnswerTests {
    private func answer(_ inside: String, code: Int = 0, error: String = "") -> GlusterAnswer? {
        GlusterAnswer(
            Array(
                """
                <?xml version="1.0" encoding="UTF-8" standalone="yes"?>
                <cliOutput>
                  <opRet>\(code)</opRet>
                  <opErrno>0</opErrno>
                  <opErrstr>\(error)</opErrstr>
                  \(inside)
                </cliOutput>
                """.utf8))
    }

    @Test("the exit status says nothing: the answer does")
    func refusal() {
        let refused = answer("", code: -1, error: "Probe returned with Transport endpoint is not connected")
        #expect(refused?.refusal == "Probe returned with Transport endpoint is not connected")
        #expect(answer("<output>success</output>")?.refusal == nil)
        #expect(GlusterAnswer(Array("Launching heal operation has been successful\n".utf8)) == nil)
        #expect(GlusterAnswer([]) == nil)
        #expect(GlusterAnswer(Array(String(repeating: "<a>", count: 1000).utf8)) == nil)
    }

    @Test("peers with all their names, without the asked node")
    func peers() {
        let found = answer(
            """
            <peerStatus>
              <peer><uuid>a</uuid><hostname>10.77.0.2</hostname><hostnames><hostname>10.77.0.2</hostname>
                <hostname>n2</hostname></hostnames><connected>1</connected><state>3</state></peer>
              <peer><uuid>b</uuid><hostname>n3</hostname><hostnames><hostname>n3</hostname></hostnames>
                <connected>0</connected><state>1</state></peer>
              <peer><uuid>c</uuid><hostname>localhost</hostname><connected>1</connected></peer>
            </peerStatus>
            """)?.peers
        #expect(
            found == [
                GlusterPeer(names: ["10.77.0.2", "n2"], isConnected: true, isInCluster: true),
                GlusterPeer(names: ["n3"], isConnected: false, isInCluster: false),
            ])
    }

    @Test("volumes with their bricks, sets and options")
    func volumes() {
        let found = answer(
            """
            <volInfo><volumes><volume>
              <name>ar</name><id>58</id><status>1</status><statusStr>Started</statusStr><brickCount>3</brickCount>
              <replicaCount>3</replicaCount><arbiterCount>1</arbiterCount><disperseCount>0</disperseCount>
              <redundancyCount>0</redundancyCount><bricks>
                <brick uuid="07">n1:/mnt/brick/a<name>n1:/mnt/brick/a</name><hostUuid>07</hostUuid></brick>
                <brick uuid="62">n2:/mnt/brick/a<name>n2:/mnt/brick/a</name><hostUuid>62</hostUuid></brick>
              </bricks><options><option><name>user.bramble</name><value>rebalance</value></option></options>
            </volume><count>1</count></volumes></volInfo>
            """)?.volumes
        #expect(found?.count == 1)
        let volume = found?.first
        #expect(volume?.status == .started && volume?.replica == 3 && volume?.arbiters == 1 && volume?.setSize == 3)
        #expect(volume?.places.map(\.description) == ["n1:/mnt/brick/a", "n2:/mnt/brick/a"])
        #expect(volume?.mark == .spreading && volume?.isOurs == true)
    }

    @Test("how far files were moved")
    func task() {
        let found = answer(
            """
            <volRebalance><task-id>1</task-id><op>3</op><nodeCount>2</nodeCount>
              <node><files>3</files><status>3</status></node>
              <aggregate><files>5</files><size>1024</size><lookups>9</lookups><failures>1</failures><skipped>0</skipped>
                <status>3</status><statusStr>completed</statusStr></aggregate></volRebalance>
            """)?.task
        #expect(found == VolumeTask(status: .done, files: 5, bytes: 1024, failures: 1))
    }
}
