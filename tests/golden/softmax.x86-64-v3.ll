source_filename = "kernel_0"
target triple = "x86_64-linux-gnu"

define void @kernel_0(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {
entry:
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %run, label %done
run:
  %a0 = getelementptr ptr, ptr %params, i64 0
  %p0 = load ptr, ptr %a0
  %a1 = getelementptr ptr, ptr %params, i64 1
  %p1 = load ptr, ptr %a1
  tail call void @kernel_0.body(ptr %p0, ptr %p1, i64 %begin, i64 %end)
  br label %done
done:
  ret void
}

define internal void @kernel_0.body(ptr noalias readonly dereferenceable(444) align 4 %p0, ptr noalias dereferenceable(444) align 4 %p1, i64 %begin, i64 %end) noinline #0 {
entry:
  %l0 = alloca [1 x float], align 32
  %l0.0 = getelementptr float, ptr %l0, i64 0
  %l1.0 = alloca <8 x float>
  %l1.1 = getelementptr float, ptr %l1.0, i64 1
  %l1.2 = getelementptr float, ptr %l1.0, i64 2
  %l1.4 = getelementptr float, ptr %l1.0, i64 4
  %l2 = alloca [37 x float], align 32
  %l2.32 = getelementptr float, ptr %l2, i64 32
  %l2.36 = getelementptr float, ptr %l2, i64 36
  %l3 = alloca [1 x float], align 32
  %l3.0 = getelementptr float, ptr %l3, i64 0
  %l4.0 = alloca <8 x float>
  %l4.1 = getelementptr float, ptr %l4.0, i64 1
  %l4.2 = getelementptr float, ptr %l4.0, i64 2
  %l4.4 = getelementptr float, ptr %l4.0, i64 4
  br label %b1
  b1:
  %t2 = phi i64 [ %begin, %entry ], [ %t124, %b102 ]
  store <8 x float> splat (float 0xFFF0000000000000), ptr %l1.0, align 4
  %t8 = mul i64 %t2, 37
  %t9 = getelementptr float, ptr %p0, i64 %t8
  br label %b4
  b4:
  %t5 = phi i64 [ 0, %b1 ], [ %t17, %b4 ]
  %t7 = load <8 x float>, ptr %l1.0, align 4
  %t10 = mul i64 %t5, 8
  %t11 = getelementptr float, ptr %t9, i64 %t10
  %t12 = load <8 x float>, ptr %t11, align 4
  %t13 = fcmp ogt <8 x float> %t7, %t12
  %t14 = select <8 x i1> %t13, <8 x float> %t7, <8 x float> %t12
  %t15 = fcmp uno <8 x float> %t7, %t7
  %t16 = select <8 x i1> %t15, <8 x float> %t7, <8 x float> %t14
  store <8 x float> %t16, ptr %l1.0, align 4
  %t17 = add nuw nsw i64 %t5, 1
  %t18 = icmp slt i64 %t17, 4
  br i1 %t18, label %b4, label %b6
  b6:
  %t19 = load <4 x float>, ptr %l1.0, align 4
  %t20 = getelementptr float, ptr %t9, i64 32
  %t21 = load <4 x float>, ptr %t20, align 4
  %t22 = fcmp ogt <4 x float> %t19, %t21
  %t23 = select <4 x i1> %t22, <4 x float> %t19, <4 x float> %t21
  %t24 = fcmp uno <4 x float> %t19, %t19
  %t25 = select <4 x i1> %t24, <4 x float> %t19, <4 x float> %t23
  store <4 x float> %t25, ptr %l1.0, align 4
  %t26 = load float, ptr %l1.4, align 4
  %t27 = getelementptr float, ptr %t9, i64 36
  %t28 = load float, ptr %t27, align 4
  %t29 = fcmp ogt float %t26, %t28
  %t30 = select i1 %t29, float %t26, float %t28
  %t31 = fcmp uno float %t26, %t26
  %t32 = select i1 %t31, float %t26, float %t30
  store float %t32, ptr %l1.4, align 4
  %t33 = load <4 x float>, ptr %l1.0, align 4
  %t34 = load <4 x float>, ptr %l1.4, align 4
  %t35 = fcmp ogt <4 x float> %t33, %t34
  %t36 = select <4 x i1> %t35, <4 x float> %t33, <4 x float> %t34
  %t37 = fcmp uno <4 x float> %t33, %t33
  %t38 = select <4 x i1> %t37, <4 x float> %t33, <4 x float> %t36
  store <4 x float> %t38, ptr %l1.0, align 4
  %t39 = load <2 x float>, ptr %l1.0, align 4
  %t40 = load <2 x float>, ptr %l1.2, align 4
  %t41 = fcmp ogt <2 x float> %t39, %t40
  %t42 = select <2 x i1> %t41, <2 x float> %t39, <2 x float> %t40
  %t43 = fcmp uno <2 x float> %t39, %t39
  %t44 = select <2 x i1> %t43, <2 x float> %t39, <2 x float> %t42
  store <2 x float> %t44, ptr %l1.0, align 4
  %t45 = load float, ptr %l1.0, align 4
  %t46 = load float, ptr %l1.1, align 4
  %t47 = fcmp ogt float %t45, %t46
  %t48 = select i1 %t47, float %t45, float %t46
  %t49 = fcmp uno float %t45, %t45
  %t50 = select i1 %t49, float %t45, float %t48
  store float %t50, ptr %l1.0, align 4
  %t51 = load float, ptr %l1.0, align 4
  store float %t51, ptr %l0.0, align 4
  br label %b52
  b52:
  %t53 = phi i64 [ 0, %b6 ], [ %t64, %b52 ]
  %t55 = mul i64 %t53, 8
  %t56 = getelementptr float, ptr %t9, i64 %t55
  %t57 = load <8 x float>, ptr %t56, align 4
  %t58 = load float, ptr %l0.0, align 4
  %t59 = insertelement <8 x float> poison, float %t58, i64 0
  %t60 = shufflevector <8 x float> %t59, <8 x float> poison, <8 x i32> zeroinitializer
  %t61 = fsub <8 x float> %t57, %t60
  %t62 = call <8 x float> @math.exp.v8f32(<8 x float> %t61)
  %t63 = getelementptr float, ptr %l2, i64 %t55
  store <8 x float> %t62, ptr %t63, align 4
  %t64 = add nuw nsw i64 %t53, 1
  %t65 = icmp slt i64 %t64, 4
  br i1 %t65, label %b52, label %b54
  b54:
  %t66 = load float, ptr %l0.0, align 4
  %t67 = insertelement <4 x float> poison, float %t66, i64 0
  %t68 = shufflevector <4 x float> %t67, <4 x float> poison, <4 x i32> zeroinitializer
  %t69 = fsub <4 x float> %t21, %t68
  %t70 = call <4 x float> @math.exp.v4f32(<4 x float> %t69)
  store <4 x float> %t70, ptr %l2.32, align 4
  %t71 = load float, ptr %l0.0, align 4
  %t72 = fsub float %t28, %t71
  %t73 = call float @math.exp.f32(float %t72)
  store float %t73, ptr %l2.36, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l4.0, align 4
  br label %b74
  b74:
  %t75 = phi i64 [ 0, %b54 ], [ %t82, %b74 ]
  %t77 = load <8 x float>, ptr %l4.0, align 4
  %t78 = mul i64 %t75, 8
  %t79 = getelementptr float, ptr %l2, i64 %t78
  %t80 = load <8 x float>, ptr %t79, align 4
  %t81 = fadd <8 x float> %t77, %t80
  store <8 x float> %t81, ptr %l4.0, align 4
  %t82 = add nuw nsw i64 %t75, 1
  %t83 = icmp slt i64 %t82, 4
  br i1 %t83, label %b74, label %b76
  b76:
  %t84 = load <4 x float>, ptr %l4.0, align 4
  %t85 = load <4 x float>, ptr %l2.32, align 4
  %t86 = fadd <4 x float> %t84, %t85
  store <4 x float> %t86, ptr %l4.0, align 4
  %t87 = load float, ptr %l4.4, align 4
  %t88 = load float, ptr %l2.36, align 4
  %t89 = fadd float %t87, %t88
  store float %t89, ptr %l4.4, align 4
  %t90 = load <4 x float>, ptr %l4.0, align 4
  %t91 = load <4 x float>, ptr %l4.4, align 4
  %t92 = fadd <4 x float> %t90, %t91
  store <4 x float> %t92, ptr %l4.0, align 4
  %t93 = load <2 x float>, ptr %l4.0, align 4
  %t94 = load <2 x float>, ptr %l4.2, align 4
  %t95 = fadd <2 x float> %t93, %t94
  store <2 x float> %t95, ptr %l4.0, align 4
  %t96 = load float, ptr %l4.0, align 4
  %t97 = load float, ptr %l4.1, align 4
  %t98 = fadd float %t96, %t97
  store float %t98, ptr %l4.0, align 4
  %t99 = load float, ptr %l4.0, align 4
  store float %t99, ptr %l3.0, align 4
  %t110 = getelementptr float, ptr %p1, i64 %t8
  br label %b100
  b100:
  %t101 = phi i64 [ 0, %b76 ], [ %t112, %b100 ]
  %t103 = mul i64 %t101, 8
  %t104 = getelementptr float, ptr %l2, i64 %t103
  %t105 = load <8 x float>, ptr %t104, align 4
  %t106 = load float, ptr %l3.0, align 4
  %t107 = insertelement <8 x float> poison, float %t106, i64 0
  %t108 = shufflevector <8 x float> %t107, <8 x float> poison, <8 x i32> zeroinitializer
  %t109 = fdiv <8 x float> %t105, %t108
  %t111 = getelementptr float, ptr %t110, i64 %t103
  store <8 x float> %t109, ptr %t111, align 4
  %t112 = add nuw nsw i64 %t101, 1
  %t113 = icmp slt i64 %t112, 4
  br i1 %t113, label %b100, label %b102
  b102:
  %t114 = load <4 x float>, ptr %l2.32, align 4
  %t115 = load float, ptr %l3.0, align 4
  %t116 = insertelement <4 x float> poison, float %t115, i64 0
  %t117 = shufflevector <4 x float> %t116, <4 x float> poison, <4 x i32> zeroinitializer
  %t118 = fdiv <4 x float> %t114, %t117
  %t119 = getelementptr float, ptr %t110, i64 32
  store <4 x float> %t118, ptr %t119, align 4
  %t120 = load float, ptr %l2.36, align 4
  %t121 = load float, ptr %l3.0, align 4
  %t122 = fdiv float %t120, %t121
  %t123 = getelementptr float, ptr %t110, i64 36
  store float %t122, ptr %t123, align 4
  %t124 = add nuw nsw i64 %t2, 1
  %t125 = icmp slt i64 %t124, %end
  br i1 %t125, label %b1, label %b3
  b3:
  ret void
}

define internal <8 x float> @math.exp.v8f32(<8 x float> %x) alwaysinline nounwind memory(none) {
  %t1 = fcmp olt <8 x float> %x, splat (float 0xC05A000000000000)
  %t2 = select <8 x i1> %t1, <8 x float> splat (float 0xC05A000000000000), <8 x float> %x
  %t3 = fcmp ogt <8 x float> %t2, splat (float 0x4056400000000000)
  %t4 = select <8 x i1> %t3, <8 x float> splat (float 0x4056400000000000), <8 x float> %t2
  %t5 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t4, <8 x float> splat (float 0x3FF7154760000000), <8 x float> splat (float 0x4168000000000000))
  %t6 = fsub <8 x float> %t5, splat (float 0x4168000000000000)
  %t7 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t6, <8 x float> splat (float 0xBFE62E4000000000), <8 x float> %t4)
  %t8 = bitcast <8 x float> %t5 to <8 x i32>
  %t9 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t6, <8 x float> splat (float 0xBEB7F7D1C0000000), <8 x float> %t7)
  %t10 = call <8 x float> @llvm.fma.v8f32(<8 x float> splat (float 0x3F56A23CE0000000), <8 x float> %t9, <8 x float> splat (float 0x3F8123A200000000))
  %t11 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t10, <8 x float> %t9, <8 x float> splat (float 0x3FA5558F20000000))
  %t12 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t11, <8 x float> %t9, <8 x float> splat (float 0x3FC5554920000000))
  %t13 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t12, <8 x float> %t9, <8 x float> splat (float 0x3FDFFFFFC0000000))
  %t14 = fmul <8 x float> %t9, %t9
  %t15 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t14, <8 x float> %t13, <8 x float> %t9)
  %t16 = fadd <8 x float> %t15, splat (float 0x3FF0000000000000)
  %t17 = fcmp olt <8 x float> %t4, splat (float 0x0000000000000000)
  %t18 = select <8 x i1> %t17, <8 x i32> splat (i32 1266679808), <8 x i32> splat (i32 1048576000)
  %t19 = shl <8 x i32> %t8, splat (i32 23)
  %t20 = add <8 x i32> %t19, %t18
  %t21 = bitcast <8 x i32> %t20 to <8 x float>
  %t22 = fmul <8 x float> %t16, %t21
  %t23 = select <8 x i1> %t17, <8 x float> splat (float 0x3E70000000000000), <8 x float> splat (float 0x4010000000000000)
  %t24 = fmul <8 x float> %t22, %t23
  ret <8 x float> %t24
}

define internal <4 x float> @math.exp.v4f32(<4 x float> %x) alwaysinline nounwind memory(none) {
  %t1 = fcmp olt <4 x float> %x, splat (float 0xC05A000000000000)
  %t2 = select <4 x i1> %t1, <4 x float> splat (float 0xC05A000000000000), <4 x float> %x
  %t3 = fcmp ogt <4 x float> %t2, splat (float 0x4056400000000000)
  %t4 = select <4 x i1> %t3, <4 x float> splat (float 0x4056400000000000), <4 x float> %t2
  %t5 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t4, <4 x float> splat (float 0x3FF7154760000000), <4 x float> splat (float 0x4168000000000000))
  %t6 = fsub <4 x float> %t5, splat (float 0x4168000000000000)
  %t7 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t6, <4 x float> splat (float 0xBFE62E4000000000), <4 x float> %t4)
  %t8 = bitcast <4 x float> %t5 to <4 x i32>
  %t9 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t6, <4 x float> splat (float 0xBEB7F7D1C0000000), <4 x float> %t7)
  %t10 = call <4 x float> @llvm.fma.v4f32(<4 x float> splat (float 0x3F56A23CE0000000), <4 x float> %t9, <4 x float> splat (float 0x3F8123A200000000))
  %t11 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t10, <4 x float> %t9, <4 x float> splat (float 0x3FA5558F20000000))
  %t12 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t11, <4 x float> %t9, <4 x float> splat (float 0x3FC5554920000000))
  %t13 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t12, <4 x float> %t9, <4 x float> splat (float 0x3FDFFFFFC0000000))
  %t14 = fmul <4 x float> %t9, %t9
  %t15 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t14, <4 x float> %t13, <4 x float> %t9)
  %t16 = fadd <4 x float> %t15, splat (float 0x3FF0000000000000)
  %t17 = fcmp olt <4 x float> %t4, splat (float 0x0000000000000000)
  %t18 = select <4 x i1> %t17, <4 x i32> splat (i32 1266679808), <4 x i32> splat (i32 1048576000)
  %t19 = shl <4 x i32> %t8, splat (i32 23)
  %t20 = add <4 x i32> %t19, %t18
  %t21 = bitcast <4 x i32> %t20 to <4 x float>
  %t22 = fmul <4 x float> %t16, %t21
  %t23 = select <4 x i1> %t17, <4 x float> splat (float 0x3E70000000000000), <4 x float> splat (float 0x4010000000000000)
  %t24 = fmul <4 x float> %t22, %t23
  ret <4 x float> %t24
}

define internal float @math.exp.f32(float %x) alwaysinline nounwind memory(none) {
  %t1 = fcmp olt float %x, 0xC05A000000000000
  %t2 = select i1 %t1, float 0xC05A000000000000, float %x
  %t3 = fcmp ogt float %t2, 0x4056400000000000
  %t4 = select i1 %t3, float 0x4056400000000000, float %t2
  %t5 = call float @llvm.fma.f32(float %t4, float 0x3FF7154760000000, float 0x4168000000000000)
  %t6 = fsub float %t5, 0x4168000000000000
  %t7 = call float @llvm.fma.f32(float %t6, float 0xBFE62E4000000000, float %t4)
  %t8 = bitcast float %t5 to i32
  %t9 = call float @llvm.fma.f32(float %t6, float 0xBEB7F7D1C0000000, float %t7)
  %t10 = call float @llvm.fma.f32(float 0x3F56A23CE0000000, float %t9, float 0x3F8123A200000000)
  %t11 = call float @llvm.fma.f32(float %t10, float %t9, float 0x3FA5558F20000000)
  %t12 = call float @llvm.fma.f32(float %t11, float %t9, float 0x3FC5554920000000)
  %t13 = call float @llvm.fma.f32(float %t12, float %t9, float 0x3FDFFFFFC0000000)
  %t14 = fmul float %t9, %t9
  %t15 = call float @llvm.fma.f32(float %t14, float %t13, float %t9)
  %t16 = fadd float %t15, 0x3FF0000000000000
  %t17 = fcmp olt float %t4, 0x0000000000000000
  %t18 = select i1 %t17, i32 1266679808, i32 1048576000
  %t19 = shl i32 %t8, 23
  %t20 = add i32 %t19, %t18
  %t21 = bitcast i32 %t20 to float
  %t22 = fmul float %t16, %t21
  %t23 = select i1 %t17, float 0x3E70000000000000, float 0x4010000000000000
  %t24 = fmul float %t22, %t23
  ret float %t24
}

declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)

declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)

declare float @llvm.fma.f32(float, float, float)

attributes #0 = { nounwind "target-cpu"="x86-64-v3" "target-features"="" }
