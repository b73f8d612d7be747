import Lab

/// `bramble-bench datagram-echo PORT` and `bramble-bench datagram-load ADDRESS PORT RATE MILLISECONDS`: the two ends of a
/// load, as programs of their own on hosts of the lab. Nil when the words ask for something else.
func endOfDatagramLoad(_ words: [String]) -> Int32? {
    switch words.first {
    case "datagram-echo" where words.count == 2: return DatagramLoad.echo(port: UInt16(words[1]) ?? 0)
    case "datagram-load" where words.count == 5:
        guard let port = UInt16(words[2]), let rate = Double(words[3]), let time = Double(words[4]),
            let outcome = DatagramLoad.run(to: words[1], port: port, rate: rate, seconds: time / 1000)
        else { return 2 }
        print(outcome.line)
        return 0
    default: return nil
    }
}
