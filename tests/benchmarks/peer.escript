#!/usr/bin/env escript
%%! +S 1:1
%% The benchmark's actor, written for Erlang: a gen_server.  Prints the seconds for one operation.
%% Run as `escript peer.escript cast` or `escript peer.escript call`.
-mode(compile).
-behaviour(gen_server).
-export([init/1, handle_call/3, handle_cast/2]).

-define(CASTS, 1000000).
-define(CALLS, 200000).

init([]) -> {ok, 0}.

handle_call(total, _From, Total) -> {reply, Total, Total}.

handle_cast({item, _Number}, Total) -> {noreply, Total + 1}.

main(["cast"]) ->
    {ok, Server} = gen_server:start_link(?MODULE, [], []),
    Started = erlang:monotonic_time(nanosecond),
    casts(Server, ?CASTS),
    ?CASTS = gen_server:call(Server, total, infinity),
    report(Started, ?CASTS);
main(["call"]) ->
    {ok, Server} = gen_server:start_link(?MODULE, [], []),
    Started = erlang:monotonic_time(nanosecond),
    calls(Server, ?CALLS),
    report(Started, ?CALLS).

casts(_Server, 0) -> ok;
casts(Server, Left) ->
    gen_server:cast(Server, {item, 1}),
    casts(Server, Left - 1).

calls(_Server, 0) -> ok;
calls(Server, Left) ->
    _ = gen_server:call(Server, total),
    calls(Server, Left - 1).

report(Started, Count) ->
    Taken = erlang:monotonic_time(nanosecond) - Started,
    io:format("~.9f~n", [Taken / Count / 1.0e9]).
