%% What is measured of Mnesia, on a node of the lab. A node does what is written into /run/command, one word and its
%% figures, and prints what came of it as one line: "WORD FIGURE FIGURE ...".
-module(mnesia_bench).
-export([start/0, collect/1]).

start() ->
    io:format("ready~n"),
    commands(none).

commands(Last) ->
    case file:read_file("/run/command") of
        {ok, Text} when Text =/= Last, Text =/= <<>> ->
            [Word | Rest] = string:lexemes(Text, " \n"),
            try
                io:format("~s ~s~n", [Word, join(perform(Word, Rest))])
            catch
                Kind:Reason -> io:format("failed ~s ~p ~p~n", [Word, Kind, Reason])
            end,
            commands(Text);
        _ ->
            timer:sleep(5),
            commands(Last)
    end.

join(Figures) -> lists:join(" ", [io_lib:format("~w", [Figure]) || Figure <- Figures]).
number(Text) -> binary_to_integer(Text).
value() -> binary:copy(<<"0123456789">>, 10).
write(Key, Table) ->
    {atomic, ok} = mnesia:transaction(fun() -> mnesia:write({Table, Key, value()}) end).

%% Makes the schema and two tables kept on the disks of all these nodes.
perform(<<"form">>, [_ | Names]) ->
    Nodes = [node() | [binary_to_atom(Name) || Name <- Names]],
    [pong = net_adm:ping(Node) || Node <- Nodes],
    ok = mnesia:create_schema(Nodes),
    {_, []} = rpc:multicall(Nodes, mnesia, start, []),
    [{atomic, ok} = mnesia:create_table(Table, [{disc_copies, Nodes}, {attributes, [k, v]}]) || Table <- [t, w]],
    [0];
%% Transactions of one row a second, and with how many clients.
perform(<<"load">>, [_, Clients, Seconds]) ->
    Me = self(),
    Start = os:perf_counter(nanosecond),
    End = Start + number(Seconds) * 1000000000,
    [spawn_link(fun() -> Me ! {wrote, client(Client * 10000000, 0, End)} end) || Client <- lists:seq(1, number(Clients))],
    Writes = lists:sum([receive {wrote, Count} -> Count end || _ <- lists:seq(1, number(Clients))]),
    [Writes * 1.0e9 / (os:perf_counter(nanosecond) - Start)];
%% Nanoseconds from the begin of a transaction until another node's subscriber is told.
perform(<<"seen">>, [_, Name, Count]) ->
    Other = binary_to_atom(Name),
    Collector = spawn_link(Other, ?MODULE, collect, [self()]),
    receive subscribed -> ok end,
    [write({seen, Key, os:perf_counter(nanosecond)}, w) || Key <- lists:seq(1, number(Count))],
    timer:sleep(500),
    Collector ! {tell, self()},
    receive {seen, Delays} -> Delays end;
perform(<<"fill">>, [_, Rows]) ->
    [{atomic, ok} = mnesia:transaction(fun() ->
         lists:foreach(fun(Key) -> mnesia:write({t, Key, value()}) end, lists:seq(First, First + 999))
     end) || First <- lists:seq(0, number(Rows) - 1, 1000)],
    [mnesia:table_info(t, size)];
%% A new node takes copies of all tables from a running one.
perform(<<"join">>, [_, Name]) ->
    Other = binary_to_atom(Name),
    pong = net_adm:ping(Other),
    ok = mnesia:start(),
    {ok, _} = rpc:call(Other, mnesia, change_config, [extra_db_nodes, [node()]]),
    {atomic, ok} = mnesia:change_table_copy_type(schema, node(), disc_copies),
    [{atomic, ok} = mnesia:add_table_copy(Table, node(), disc_copies) || Table <- [t, w]],
    ok = mnesia:wait_for_tables([t, w], 60000),
    [mnesia:table_info(t, size)];
perform(<<"apart">>, [_, Side, Count]) ->
    [write({Side, Key}, w) || Key <- lists:seq(1, number(Count))],
    [mnesia:table_info(w, size)];
perform(<<"size">>, _) ->
    [mnesia:table_info(w, size)];
%% The longest that a transaction took within so many seconds, in nanoseconds.
perform(<<"longest">>, [_, Seconds]) ->
    [longest(0, 0, os:perf_counter(nanosecond) + number(Seconds) * 1000000000)].

client(Key, Count, End) ->
    case os:perf_counter(nanosecond) < End of
        true ->
            write(Key + Count, w),
            client(Key, Count + 1, End);
        false ->
            Count
    end.

longest(Key, Longest, End) ->
    Start = os:perf_counter(nanosecond),
    case Start < End of
        true ->
            write(Key, w),
            longest(Key + 1, max(Longest, os:perf_counter(nanosecond) - Start), End);
        false ->
            Longest
    end.

collect(Writer) ->
    {ok, _} = mnesia:subscribe({table, w, simple}),
    Writer ! subscribed,
    collect_until_asked([]).
collect_until_asked(Delays) ->
    receive
        {mnesia_table_event, {write, {w, {seen, _, Start}, _}, _}} ->
            collect_until_asked([os:perf_counter(nanosecond) - Start | Delays]);
        {tell, Writer} ->
            Writer ! {seen, Delays};
        _ ->
            collect_until_asked(Delays)
    end.
