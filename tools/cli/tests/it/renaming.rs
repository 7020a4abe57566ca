use aws_sdk_dynamodb::types::AttributeValue::S;
use domain::{BlockedReason, EventKind, EventState};
use local::{Fault, FaultyProxy};
use serde_json::json;

use crate::harness::{ADA, CliFixture, RUN, ran};

/// The new address of [`ADA`].
const NEW: &str = "Ada.Lovelace@example.org";

async fn rename(stack: &CliFixture, arguments: &[&str]) -> crate::harness::Ran {
    stack
        .run(&[&["users", "rename-email"], arguments].concat())
        .await
}

#[tokio::test]
async fn a_learner_gets_another_address() {
    let stack = CliFixture::with_ada_and_a_run().await;
    stack
        .run_with_input(
            &["users", "import", "-"],
            "email,edx_username\nada@example.org,ada\n",
        )
        .await
        .ok();
    let set = ["enrollments", "set", ADA, RUN, "--mode", "audit"];
    stack.run(&set).await.ok();
    let before = stack.run(&["users", "show", ADA, "--json"]).await.json();
    stack
        .add_pending(EventKind::Certificate, ADA, RUN, BlockedReason::NotPassed)
        .await;

    let message = rename(&stack, &[ADA, NEW]).await.ok();
    assert_eq!(
        message,
        "renamed to ada.lovelace@example.org; ada@example.org still finds them; \
         1 pending event moved along\n"
    );
    // Both addresses find the same user, and their records.
    for email in [ADA, NEW] {
        let user = stack.run(&["users", "show", email, "--json"]).await.json();
        assert_eq!(user["user_id"], before["user_id"]);
        assert_eq!(user["edx_username"], "ada");
        assert_eq!(user["name"], "Ada Lovelace");
        assert_eq!(user["email"], "ada.lovelace@example.org");
        assert_eq!(user["email_as_given"], NEW);
        assert_eq!(user["former_emails"], json!([ADA]));

        let status = stack.run(&["status", email, "--json"]).await.json();
        let [run] = &status["runs"].as_array().unwrap()[..] else {
            panic!("{status}")
        };
        assert_eq!(run["enrollment"]["mode"], "audit");
        assert_eq!(run["events"][0]["email"], "ada.lovelace@example.org");
    }
    let shown = stack.run(&["users", "show", NEW]).await.ok();
    assert!(shown.contains("formerly      ada@example.org"), "{shown}");

    // The same command again changes nothing, also with the former address.
    let again = rename(&stack, &[ADA, NEW, "--json"]).await.json();
    assert_eq!(
        (&again["changed"], &again["events_moved"]),
        (&json!(false), &json!(0))
    );

    // After any number of changes, all former addresses find the current one.
    let next = |n: usize| format!("ada@{n}.example.org");
    for n in 0..6 {
        rename(&stack, &[ADA, &next(n)]).await.ok();
    }
    for email in [ADA, NEW, &next(0), &next(5)] {
        let user = stack.run(&["users", "show", email, "--json"]).await.json();
        assert_eq!(user["email"], next(5));
    }
}

#[tokio::test]
async fn a_mistyped_address_can_be_forgotten() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let typo = "ada@exmaple.org";
    rename(&stack, &[ADA, typo]).await.ok();
    // The user's own events move along, and an event that is blocked on a user with that
    // address stays.
    let (pass, enrollment) = (EventKind::Certificate, EventKind::Enrollment);
    stack
        .add_pending(pass, typo, RUN, BlockedReason::NotPassed)
        .await;
    stack
        .add_pending(enrollment, typo, RUN, BlockedReason::NoSuchUser)
        .await;
    let message = rename(&stack, &[typo, ADA, "--forget"]).await.ok();
    assert_eq!(
        message,
        "renamed to ada@example.org; ada@exmaple.org no longer finds them; \
         1 pending event moved along\n"
    );
    let events = stack.run(&["events", "list", "--json"]).await.json();
    let whose = |kind: &str| {
        let events = events.as_array().unwrap();
        let event = events.iter().find(|event| event["kind"] == kind).unwrap();
        event["email"].as_str().unwrap().to_owned()
    };
    assert_eq!((&*whose("certificate"), &*whose("enrollment")), (ADA, typo));
    assert_eq!(stack.run(&["users", "show", typo]).await.code, 2);
    let user = stack.run(&["users", "show", ADA, "--json"]).await.json();
    assert_eq!(user["former_emails"], json!([]));
    // Anyone may have the address now.
    let csv = format!("email\n{typo}\n");
    let imported = stack.run_with_input(&["users", "import", "-"], &csv).await;
    assert!(imported.ok().starts_with("1 created"));
}

#[tokio::test]
async fn an_invalid_new_address_is_refused() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let csv = "email\nbob@example.org\n";
    stack
        .run_with_input(&["users", "import", "-"], csv)
        .await
        .ok();
    rename(&stack, &[ADA, "ada@former.example.org"]).await.ok();
    rename(&stack, &["ada@former.example.org", ADA]).await.ok();
    for (arguments, message) in [
        ([ADA, " ADA@example.org"], "the same address"),
        ([ADA, "ada"], "the new address has no @"),
        (
            [ADA, "ada\u{200b}@example.org"],
            "the new address has U+200B ZERO WIDTH SPACE at 4",
        ),
        (
            ["3349ca65-ca93-44ef-9977-069eb88918d0", "ada.l@example.org"],
            "no user with the id 3349ca65-ca93-44ef-9977-069eb88918d0",
        ),
        (
            [ADA, "bob@example.org"],
            "coursehook users erase bob@example.org",
        ),
        (["cy@example.org", NEW], "there is no user cy@example.org"),
        (
            ["bob@example.org", "ada@former.example.org"],
            "if it never belonged to them: coursehook users rename-email ada@former.example.org \
             ada@example.org --forget",
        ),
    ] {
        let ran = rename(&stack, &arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.contains(message), "{ran:?}");
    }
}

/// Such a user may come from another program, or from an import before addresses were
/// checked. No argument can name the address, so the id is used.
#[tokio::test]
async fn an_address_with_invisible_characters_is_shown_and_replaced() {
    let stack = CliFixture::start().await;
    let id = "3349ca65-ca93-44ef-9977-069eb88918d0";
    let (email, name) = ("ada\u{200b}@example.org", "Ada\u{202e}\u{feff} Lovelace");
    let put = stack.dynamodb().put_item().table_name("UsersTable");
    put.item("email", S(email.to_owned()))
        .item("user_id", S(id.to_owned()))
        .item("email_as_given", S(email.to_owned()))
        .item("name", S(name.to_owned()))
        .send()
        .await
        .unwrap();
    let listed = stack.run(&["users", "list"]).await.ok();
    for shown in [
        "ada<U+200B>@example.org",
        "Ada<U+202E><U+FEFF> Lovelace",
        id,
    ] {
        assert!(listed.contains(shown), "{listed}");
    }
    let json = stack.run(&["users", "list", "--json"]).await;
    assert!(json.out.contains(r"ada\u200b@example.org"), "{json:?}");
    assert_eq!(json.json()[0]["email"], email);
    let refused = stack.run(&["users", "show", email]).await;
    assert_eq!(refused.code, 2);
    let message = "has U+200B ZERO WIDTH SPACE at 4";
    assert!(refused.err.contains(message), "{refused:?}");

    let renamed = rename(&stack, &[id, ADA, "--forget"]).await.ok();
    assert_eq!(
        renamed,
        "renamed to ada@example.org; ada<U+200B>@example.org no longer finds them\n"
    );
    let user = stack.run(&["users", "show", ADA, "--json"]).await.json();
    assert_eq!(
        (&user["user_id"], &user["name"]),
        (&json!(id), &json!(name))
    );
    assert_eq!(user["former_emails"], json!([]));
}

/// An import with the new address, before the change, says what to do. After the change
/// it accepts both addresses, and a row with the former one only adds missing values.
#[tokio::test]
async fn imports_accept_both_addresses() {
    let stack = CliFixture::start().await;
    let import = async |rows: &str| {
        let csv = format!("email,edx_username,name\n{rows}");
        stack.run_with_input(&["users", "import", "-"], &csv).await
    };
    import("ada@example.org,ada,\n").await.ok();
    let ran = import("ada.l@example.org,ada,Ada\n").await;
    assert_eq!(ran.code, 1);
    let message = "line 2: the username belongs to ada@example.org; if they are one person with a \
        new address: coursehook users rename-email ada@example.org ada.l@example.org;";
    assert!(ran.err.starts_with(message), "{ran:?}");

    rename(&stack, &[ADA, "ada.l@example.org"]).await.ok();
    let rows = "ada@example.org,,Ada\nada.l@example.org,ada-2,\n";
    let counts = |ran: crate::harness::Ran| {
        let summary = ran.json();
        [
            &summary["created"],
            &summary["updated"],
            &summary["unchanged"],
        ]
        .map(|n| n.as_u64().unwrap())
    };
    let import = async |rows: &str| {
        let csv = format!("email,edx_username,name\n{rows}");
        let arguments = ["users", "import", "-", "--json"];
        counts(stack.run_with_input(&arguments, &csv).await)
    };
    assert_eq!(import(rows).await, [0, 2, 0]);
    assert_eq!(import(rows).await, [0, 0, 2]);
    // The former address does not replace values that are known under the new one.
    assert_eq!(import("ada.l@example.org,,Ada Lovelace\n").await, [0, 1, 0]);
    assert_eq!(import("ada@example.org,ada-2,A.\n").await, [0, 0, 1]);
    let user = stack.run(&["users", "show", ADA, "--json"]).await.json();
    assert_eq!(
        [&user["email"], &user["edx_username"], &user["name"]],
        ["ada.l@example.org", "ada-2", "Ada Lovelace"]
    );
}

/// A line about another person than the current or former holder of its address changes
/// no user, and names the holder and the command that frees the address.
#[tokio::test]
async fn a_line_about_another_person_is_refused() {
    const FIRST: &str = "old.one@example.org";
    const NOW: &str = "new.one@example.org";
    let former = |of: &str, about: &str| {
        format!(
            "{FIRST} is a former address of {of}, who has {NOW} now, and this line is about \
             {about}; if they are two people, free the address and import the file again: \
             coursehook users rename-email {FIRST} {NOW} --forget; if they are one person, put \
             {NOW} into the line"
        )
    };
    let in_use = |of: &str, about: &str| {
        format!(
            "{NOW} is the address of {of}, and this line is about {about}: both username and \
             name differ; if they are two people, give the first one another address and import \
             the file again: coursehook users rename-email {NOW} NEW_ADDRESS --forget; if they \
             are one person, import the line without its name first, and then unchanged"
        )
    };
    let (updated, unchanged) = (Ok([0, 1, 0]), Ok([0, 0, 1]));
    // The known users, the line, and the result.
    for (known, line, expected) in [
        // The former address, distinguished by usernames.
        (
            "one,One Uno",
            "old.one@example.org,brandnew,Somebody Else",
            Err(former("one (One Uno)", "brandnew (Somebody Else)")),
        ),
        (
            "one,One Uno",
            " OLD.One@Example.org ,brandnew,one  UNO",
            Err(former("one (One Uno)", "brandnew (one  UNO)")),
        ),
        (
            "one,",
            "old.one@example.org,brandnew,",
            Err(former("one", "brandnew")),
        ),
        (
            "one,One Uno",
            "old.one@example.org,bob,Bob",
            Err(former(
                "one (One Uno)",
                "bob (Bob) (whose username belongs to bob@example.org)",
            )),
        ),
        (
            "one,One Uno",
            "old.one@example.org,one,Somebody Else",
            unchanged.clone(),
        ),
        (
            "One,One Uno",
            "old.one@example.org,oNE,Somebody Else",
            unchanged.clone(),
        ),
        // The former address, distinguished by names, since a username is missing.
        (
            "one,One Uno",
            "old.one@example.org,,Somebody Else",
            Err(former("one (One Uno)", "Somebody Else")),
        ),
        (
            ",One Uno",
            "old.one@example.org,brandnew,Somebody Else",
            Err(former("One Uno", "brandnew (Somebody Else)")),
        ),
        (
            ",One Uno",
            "old.one@example.org,,Somebody Else",
            Err(former("One Uno", "Somebody Else")),
        ),
        (
            "one,One Uno",
            "old.one@example.org,, oNE   uNO ",
            unchanged.clone(),
        ),
        (
            ",Zoë Uno",
            "old.one@example.org,one,ZOE\u{308} UNO",
            updated.clone(),
        ),
        ("one,One Uno", "old.one@example.org,,", unchanged.clone()),
        ("one,", "old.one@example.org,,One Uno", updated.clone()),
        // A former address in the middle of the list, which leads to the current one.
        (
            "one,One Uno",
            "mid.one@example.org,brandnew,Somebody Else",
            Err(former("one (One Uno)", "brandnew (Somebody Else)")
                .replace(FIRST, "mid.one@example.org")),
        ),
        // The current address.
        (
            "one,One Uno",
            "new.one@example.org,brandnew,Somebody Else",
            Err(in_use("one (One Uno)", "brandnew (Somebody Else)")),
        ),
        (
            "one,One Uno",
            "new.one@example.org,bob,Bob",
            Err(in_use(
                "one (One Uno)",
                "bob (Bob) (whose username belongs to bob@example.org)",
            )),
        ),
        (
            "one,One Uno",
            "new.one@example.org,brandnew,ONE Uno",
            updated.clone(),
        ),
        (
            "one,One Uno",
            "new.one@example.org,one,Somebody Else",
            updated.clone(),
        ),
        (
            "one,One Uno",
            "new.one@example.org,brandnew,",
            updated.clone(),
        ),
        (
            "one,",
            "new.one@example.org,brandnew,Somebody Else",
            updated.clone(),
        ),
        (
            ",One Uno",
            "new.one@example.org,brandnew,Somebody Else",
            updated.clone(),
        ),
    ] {
        let stack = CliFixture::start().await;
        let import = async |rows: &str| {
            let csv = format!("email,edx_username,name\n{rows}\n");
            let arguments = ["users", "import", "-", "--json"];
            stack.run_with_input(&arguments, &csv).await
        };
        import(&format!("{FIRST},{known}\nbob@example.org,bob,Bob")).await;
        for [from, to] in [[FIRST, "mid.one@example.org"], ["mid.one@example.org", NOW]] {
            rename(&stack, &[from, to]).await.ok();
        }
        let before = stack.run(&["users", "list", "--json"]).await.ok();
        let ran = import(line).await;
        let summary = ran.json();
        let case = format!("{known}: {line}: {ran:?}");
        match expected {
            Ok(counts) => {
                let counted = ["created", "updated", "unchanged"].map(|of| &summary[of]);
                assert_eq!(counted, counts.map(|n| json!(n)).each_ref(), "{case}");
                assert_eq!((ran.code, &summary["bad_lines"]), (0, &json!([])), "{case}");
            }
            Err(problem) => {
                assert_eq!(ran.code, 1, "{case}");
                let bad = json!([{"line": 2, "problem": problem}]);
                assert_eq!(summary["bad_lines"], bad, "{case}");
                let after = stack.run(&["users", "list", "--json"]).await.ok();
                assert_eq!(after, before, "{case}");
            }
        }
    }
}

/// The command in the message frees the address, and importing the file again then
/// creates a user for the second person.
#[tokio::test]
async fn the_printed_command_frees_the_address() {
    for (line, options) in [
        ("old.one@example.org,brandnew,Somebody Else", "--forget"),
        ("new.one@example.org,brandnew,Somebody Else", "--forget"),
        // Text that is special in a shell, or looks like an option.
        ("-o'ld@example.org,brandnew,Somebody Else", "--forget --"),
    ] {
        let (address, _) = line.split_once(',').unwrap();
        let stack = CliFixture::start().await;
        let import = async |rows: &str| {
            let csv = format!("email,edx_username,name\n{rows}\n");
            stack.run_with_input(&["users", "import", "-"], &csv).await
        };
        let is_current = address.starts_with("new");
        import(&format!("{address},one,One Uno")).await.ok();
        if !is_current {
            let renamed = [
                "users",
                "rename-email",
                "--",
                address,
                "new.one@example.org",
            ];
            stack.run(&renamed).await.ok();
        }
        let refused = import(line).await;
        assert_eq!(
            refused.out,
            "0 created, 0 updated, 0 unchanged, 1 bad line\n"
        );
        let command = refused.err.split("again: ").nth(1).unwrap();
        let command = command.split("; if they").next().unwrap();
        assert!(command.contains(options), "{command}");
        let command = command.replace("NEW_ADDRESS", "one@elsewhere.example.org");
        stack.shell(&command).await.ok();

        assert_eq!(
            import(line).await.ok(),
            "1 created, 0 updated, 0 unchanged, 0 bad lines\n"
        );
        let users = stack.run(&["users", "list", "--json"]).await.json();
        let users = users.as_array().unwrap();
        let of = |username: &str| {
            let user = users.iter().find(|user| user["edx_username"] == username);
            user.unwrap().clone()
        };
        let (first, second) = (of("one"), of("brandnew"));
        assert_ne!(first["user_id"], second["user_id"], "{line}");
        assert_eq!(first["former_emails"], json!([]), "{line}");
        assert_eq!(second["email"], address, "{line}");
    }
}

/// If another line of the file gives the two the same username, the order of the lines
/// does not matter.
#[tokio::test]
async fn a_line_with_a_former_address_is_tried_after_the_others_of_its_file() {
    for rows in [
        "old.one@example.org,,One Duo\nnew.one@example.org,one,One Duo\n",
        "new.one@example.org,one,One Duo\nold.one@example.org,,One Duo\n",
    ] {
        let stack = CliFixture::start().await;
        let import = async |rows: &str| {
            let csv = format!("email,edx_username,name\n{rows}");
            stack.run_with_input(&["users", "import", "-"], &csv).await
        };
        import("old.one@example.org,one,One Uno\n").await.ok();
        rename(&stack, &["old.one@example.org", "new.one@example.org"])
            .await
            .ok();
        assert_eq!(
            import(rows).await.ok(),
            "0 created, 1 updated, 1 unchanged, 0 bad lines\n",
            "{rows}"
        );
    }
}

/// An event that ended because no user had the new address starts again, and an event
/// that is pending under the old one does not end with it.
#[tokio::test]
async fn an_event_that_ended_without_its_user_is_retried() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let new = NEW.to_lowercase();
    let enrollment = EventKind::Enrollment;
    for course in [RUN, "Org/Bees/1"] {
        let event = stack
            .add_pending(enrollment, &new, course, BlockedReason::NoSuchUser)
            .await;
        stack.end(event, EventState::Expired).await;
    }
    stack
        .add_pending(enrollment, ADA, "Org/Bees/1", BlockedReason::NoSuchRun)
        .await;
    let message = rename(&stack, &[ADA, NEW]).await.ok();
    assert!(
        message.ends_with(
            "1 pending event moved along; 1 pending event waited for this and will be retried within a minute\n"
        ),
        "{message}"
    );
    let events = stack.run(&["events", "list", "--json"]).await.json();
    for event in events.as_array().unwrap() {
        assert_eq!(event["state"], "waiting", "{event}");
    }
    let imported = stack.run_with_input(
        &["runs", "import", "-"],
        "course_id,title\nOrg/Bees/1,Bees\n",
    );
    assert!(imported.await.ok().contains("1 pending event waited"));
}

/// A change by another program during the renaming is not lost.
#[tokio::test]
async fn a_concurrent_change_is_not_lost() {
    let stack = CliFixture::with_ada_and_a_run().await;
    let proxy = FaultyProxy::before(stack.url(), |call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::Hold,
        _ => Fault::Pass,
    });
    let proxy = proxy.await.unwrap();
    let mut command = stack.command(&["users", "rename-email", ADA, NEW]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
    let meanwhile = async {
        proxy.stuck(1).await;
        let update = stack.dynamodb().update_item().table_name("UsersTable");
        let update = update.key("email", S(ADA.to_owned()));
        // All attributes of the other program are kept.
        let update = update.update_expression("SET shoe_size = :size");
        let update = update.expression_attribute_values(":size", S("38".to_owned()));
        update.send().await.unwrap();
        let csv = format!("email,name\n{ADA},Countess Lovelace\n");
        let import = ["users", "import", "-"];
        stack.run_with_input(&import, &csv).await.ok();
        proxy.set(|_| Fault::Pass);
    };
    let (renamed, ()) = tokio::join!(ran(command), meanwhile);
    assert!(renamed.ok().starts_with("renamed"));
    let get = stack.dynamodb().get_item().table_name("UsersTable");
    let get = get.key("email", S(NEW.to_lowercase()));
    let item = get.send().await.unwrap().item.unwrap();
    assert_eq!(item["name"].as_s().unwrap(), "Countess Lovelace");
    assert_eq!(item["shoe_size"].as_s().unwrap(), "38");
}

/// A renaming that was cut short between the address and its events is completed by the
/// same command.
#[tokio::test]
async fn the_same_command_completes_a_renaming() {
    let stack = CliFixture::with_ada_and_a_run().await;
    stack
        .add_pending(
            EventKind::Enrollment,
            ADA,
            "Org/Bees/1",
            BlockedReason::NoSuchRun,
        )
        .await;
    for failing in ["PutItem", "DeleteItem"] {
        let proxy = FaultyProxy::before(stack.url(), move |call| {
            if call.operation == failing {
                Fault::Refuse("AccessDeniedException")
            } else {
                Fault::Pass
            }
        });
        let proxy = proxy.await.unwrap();
        let mut command = stack.command(&["users", "rename-email", ADA, NEW]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url);
        let ran = ran(command).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("these credentials are not"), "{ran:?}");
    }
    let done = rename(&stack, &[ADA, NEW, "--json"]).await.json();
    assert_eq!(done["events_moved"], 1);
    let events = stack.run(&["events", "list", "--json"]).await.json();
    let [event] = &events.as_array().unwrap()[..] else {
        panic!("{events}")
    };
    assert_eq!(event["email"], "ada.lovelace@example.org");
}
